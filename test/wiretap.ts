/** Reads the batches that go to a worker off the socket, as text. Each id is named by the operation that made it. */
import { createHash } from "node:crypto";
import { Dealer } from "zeromq";
import { Op, Tag, WELL_KNOWN } from "../bridge/wire/codes.ts";
import { MessageType, URGENT } from "../bridge/wire/header.ts";
import { defaultLimits } from "../bridge/wire/limits.ts";
import { decodeMessage } from "../bridge/wire/meta.ts";

/** One batch: where it runs, and its operations in order. */
export interface Sent {
  /** The lane, numbered by first appearance in the section, from 0. */
  readonly lane: number;
  readonly contexts: readonly string[];
  readonly operations: readonly string[];
  /** True where the batch went out because somebody awaits a value in it: a round trip. */
  readonly urgent: boolean;
}

interface Message {
  readonly lane: number;
  readonly first: number;
  readonly contexts: readonly {
    readonly mode: string | null;
    readonly eval: number[];
    readonly train: number[];
    readonly rng: boolean;
  }[];
  readonly operations: readonly (readonly unknown[])[];
  readonly frames: readonly string[];
  readonly urgent: boolean;
}

/** Fields that are empty or 0 are left out of a batch. */
const OMITTED = { lane: 0, contexts: [] };

const hash = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex").slice(0, 12);

/**
 * Listens to everything that this process sends to a worker. There must be one worker only, and the tap must be made
 * before it.
 */
export class Wiretap {
  readonly #messages: Message[] = [];

  constructor() {
    const messages = this.#messages;
    const send = Reflect.get<Dealer, "send">(Dealer.prototype, "send");
    const listening = function (this: Dealer, parts: Uint8Array[]): Promise<void> {
      const { header, meta, frames } = decodeMessage(parts, defaultLimits);
      if (header.type === MessageType.batch)
        messages.push({
          ...OMITTED,
          ...(meta as Pick<Message, "first" | "operations">),
          frames: frames.map(hash),
          urgent: (header.flags & URGENT) !== 0,
        });
      return send.call(this, parts);
    };
    // The method is inherited and cannot be assigned. The next test file of this process defines its own.
    Object.defineProperty(Dealer.prototype, "send", { value: listening, configurable: true });
  }

  /**
   * The batches that `run` sends. A result made in it is named by its place among them, `%12`; an older one by the way
   * it was made, `import(torch).nn.ReLU()`.
   */
  async during(run: () => Promise<unknown>): Promise<Sent[]> {
    const start = this.#messages.length;
    await run();
    const section = this.#messages.slice(start);
    const base = section[0]?.first ?? Infinity;
    const names = namesOf(this.#messages.slice(0, start));
    const name = (id: number): string => (id >= base ? `%${id - base}` : names(id));
    const lanes = [...new Set(section.map(({ lane }) => lane))];
    return section.map(({ lane, first, contexts, operations, frames, urgent }) => ({
      lane: lanes.indexOf(lane),
      contexts: contexts.map(({ mode, eval: off, train: on, rng }) =>
        JSON.stringify({ mode, eval: off.map(name), train: on.map(name), rng }),
      ),
      operations: operations.map((operation) => textOf(operation, within(first, name), frames)),
      urgent,
    }));
  }
}

/** The way in which each id of `messages` was made. */
function namesOf(messages: readonly Message[]): (id: number) => string {
  const made = new Map<number, () => string>();
  const name = (id: number): string => {
    const known = Object.entries(WELL_KNOWN).find(([, wellKnown]) => wellKnown === id)?.[0];
    return known ?? made.get(id)?.() ?? `?${id}`;
  };
  for (const { first, operations, frames } of messages) {
    const named = within(first, name);
    let id = first;
    for (const operation of operations) {
      const [code, target, path] = operation;
      const links = code === Op.get || code === Op.call ? (path as string[]) : [];
      for (const [i] of links.entries()) {
        const until = links.slice(0, i + 1);
        made.set(id++, () => [named(target as number), ...until].join("."));
      }
      if (code !== Op.get) made.set(id++, () => textOf(operation, named, frames));
    }
  }
  return name;
}

/** Within a batch, its own results count from its first place: -1, -2, … */
const within =
  (first: number, name: (id: number) => string) =>
  (id: number): string =>
    name(id < 0 ? first - id - 1 : id);

const CODES: readonly string[] = Object.keys(Op);

function textOf(operation: readonly unknown[], name: (id: number) => string, frames: readonly string[]): string {
  const [code, ...rest] = operation;
  const value = (token: unknown): string => {
    if (token instanceof Uint8Array) return hash(token);
    if (!Array.isArray(token)) return typeof token === "bigint" ? String(token) : JSON.stringify(token);
    const [tag, ...parts] = token as [number, ...unknown[]];
    if (tag === Tag.reference) return name(parts[0] as number);
    if (tag === Tag.float) return floatText(parts[0] as Uint8Array);
    if (tag === Tag.tensor) return `array(${frames[parts[0] as number]!} ${String(parts[1])} [${String(parts[2])}])`;
    return `<${tag} ${parts.map(value).join(" ")}>`;
  };
  switch (code) {
    case Op.import:
      return `import(${String(rest[0])})`;
    case Op.call: {
      const [target, path, args, keywords] = rest as [number, string[], unknown[], Record<string, unknown>];
      const named = Object.entries(keywords).map(([key, token]) => `${key}=${value(token)}`);
      return `${[name(target), ...path].join(".")}(${[...args.map(value), ...named].join(", ")})`;
    }
    case Op.release: {
      const [ranges] = rest as [number[]];
      return `release ${ranges.map(name).join(" ")}`;
    }
    case Op.get:
      return [name(rest[0] as number), ...(rest[1] as string[])].join(".");
    case Op.fetch:
      return `fetch ${name(rest[0] as number)} ${String(rest[1])}`;
    default: {
      const [target, ...others] = rest;
      return `${CODES[code as number]!} ${name(target as number)} ${others.map(value).join(" ")}`;
    }
  }
}

/** Writes a float as Python does: it does not look like an integer. */
function floatText(bytes: Uint8Array): string {
  const value = new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, true);
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}
