import { TorchwireError } from "../errors/errors.ts";

/**
 * The limits on what one side may ask of the other, checked before anything is sent, allocated or run. Both sides tell
 * theirs when they meet (HELLO, WELCOME), and each keeps to the smaller of the two.
 */
export interface Limits {
  /** Bytes of one frame (default 1 GiB): larger arrays travel in several. */
  readonly frameBytes: number;
  /** Frames of one message; an operation may fill a quarter of them (default 1024, which is 256). */
  readonly frames: number;
  /** Bytes of all frames of one message; an operation may fill a quarter of them (default 64 GiB, which is 16). */
  readonly messageBytes: number;
  /**
   * Bytes of a message beside its frames: plain values, names, text; an operation may fill a quarter of them (default
   * 64 MiB, which is 16).
   */
  readonly metaBytes: number;
  /** Bytes of one string, in UTF-8, or of one `py.bytes` (default 16 MiB). */
  readonly textBytes: number;
  /** Operations of one batch (default 4096). A batch is sent when it has 256, or as many. */
  readonly ops: number;
  /** Nesting of one value (default 64). */
  readonly depth: number;
  /** Dimensions of one tensor (default 64, which is PyTorch's own limit). */
  readonly dims: number;
  /**
   * Operations that may wait for the worker; a loop that never awaits gets an error past them (default 1,000,000). The
   * client keeps it.
   */
  readonly inFlightOps: number;
  /** Bytes of such operations (default 2 GiB). The client keeps it. */
  readonly inFlightBytes: number;
}

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** The default, the least that a session works with, and the most that the wire or Python can carry. */
const ranges: Readonly<Record<keyof Limits, readonly [usual: number, least: number, most: number]>> = {
  frameBytes: [GIB, 4 * KIB, 4 * GIB - 4 * KIB],
  frames: [1024, 8, 2 ** 16 - 1],
  messageBytes: [64 * GIB, 64 * KIB, 2 ** 53 - 1],
  metaBytes: [64 * MIB, 64 * KIB, GIB],
  textBytes: [16 * MIB, 4 * KIB, 256 * MIB],
  ops: [4096, 1, 2 ** 16],
  depth: [64, 4, 128],
  dims: [64, 8, 64],
  inFlightOps: [1_000_000, 1000, 2 ** 53 - 1],
  inFlightBytes: [2 * GIB, MIB, 2 ** 53 - 1],
};

const names = Object.keys(ranges) as (keyof Limits)[];

function eachLimit(of: (name: keyof Limits) => number): Limits {
  return Object.fromEntries(names.map((name) => [name, of(name)])) as Record<keyof Limits, number>;
}

export const defaultLimits: Limits = limitsOf({});

/** The defaults, with `options` in their place. Throws MISUSE for an unknown limit and for a value out of range. */
export function limitsOf(options: Partial<Limits>): Limits {
  for (const [name, value] of Object.entries(options)) {
    const range = Object.hasOwn(ranges, name) ? ranges[name as keyof Limits] : undefined;
    if (range === undefined)
      throw new TorchwireError("MISUSE", `limits: there is no ${name}; there are ${names.join(", ")}`);
    const [, least, most] = range;
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= least && value <= most))
      throw new TorchwireError("MISUSE", `limits: ${name} is ${value}, not a whole number from ${least} to ${most}`);
  }
  return eachLimit((name) => options[name] ?? ranges[name][0]);
}

/** The limits as the worker is told them: past 32 bits a number would be written as a float. */
export const told = (limits: Limits): Readonly<Record<string, number | bigint>> =>
  Object.fromEntries(Object.entries(limits).map(([name, limit]) => [name, limit < 2 ** 32 ? limit : BigInt(limit)]));

/** The smaller value for each limit. Where the other side does not tell one, ours holds. */
export function smaller(ours: Limits, theirs: Partial<Limits>): Limits {
  return eachLimit((name) => Math.min(ours[name], theirs[name] ?? Infinity));
}

/** No part of a message is longer than this. */
export const longestPart = ({ frameBytes, metaBytes }: Limits): number => Math.max(frameBytes, metaBytes + 4096);

/**
 * `found` describes the value: `args[0] has 65 dimensions`. `limit` is given where only a share of the limit is
 * allowed here.
 */
export function exceeded(
  found: string,
  name: keyof Limits,
  limits: Limits,
  limit: number = limits[name],
): TorchwireError {
  const share = limit === limits[name] ? "" : ` (a quarter of ${name}, which is ${limits[name]})`;
  const raise = limits[name] < ranges[name][2] ? `; the option limits: { ${name} } raises it` : "";
  return new TorchwireError("LIMIT", `${found}, the limit is ${limit}${share}${raise}`);
}

/** Throws LIMIT where an operation has more than its share of a message. */
export function checkQuarter(what: string, found: number, name: keyof Limits, limits: Limits): void {
  const share = Math.floor(limits[name] / 4);
  if (found > share) throw exceeded(`one operation has ${found} ${what}`, name, limits, share);
}
