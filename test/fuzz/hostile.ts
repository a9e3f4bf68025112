/** Messages that a worker must refuse or ignore, from a seed. */
import { Packr } from "msgpackr";
import { MessageType, HEADER_BYTES, writeHeader } from "../../bridge/wire/header.ts";
import type { Dice } from "../fixtures/dice.ts";
import { bytes, golden } from "../golden/vectors.ts";

export const hostileKinds = [
  "random bytes",
  "truncated",
  "mutated golden vector",
  "huge dimensions",
  "wrong types",
  "wrong token",
  "tiny frames",
] as const;
export type HostileKind = (typeof hostileKinds)[number];

const packr = new Packr({ useRecords: false, variableMapSize: true });

const samples: readonly (readonly Uint8Array[])[] = [...golden.messages, ...golden.refusedMessages].map(({ hex }) =>
  hex.map(bytes),
);

export const hostile = (kind: HostileKind, dice: Dice): Uint8Array[] => makers[kind](dice);

const makers: Readonly<Record<HostileKind, (dice: Dice) => Uint8Array[]>> = {
  "random bytes": (dice) => Array.from({ length: dice.from(1, 3) }, () => dice.bytes(dice.below(200))),

  truncated(dice) {
    const parts = [...dice.pick(samples)];
    const at = dice.below(parts.length);
    const part = parts[at]!;
    return [...parts.slice(0, at), part.subarray(0, dice.below(part.length))];
  },

  "mutated golden vector"(dice) {
    const parts = [...dice.pick(samples)];
    const at = dice.below(parts.length);
    // Only the meta, and a header that fits it, so that more than the header's checks are put to the test.
    parts[at] = at === 0 && dice.chance(0.6) ? remade(parts[0]!, dice) : mutated(parts[at]!, dice);
    return parts;
  },

  "huge dimensions": huge,

  "wrong types": (dice) => [
    message(dice.from(MessageType.hello, MessageType.ack), packr.pack(anything(dice, 4)), dice),
  ],

  "wrong token"(dice) {
    const token = dice.pick([
      () => text(dice, 64),
      () => "0".repeat(64),
      () => text(dice, dice.below(5000)),
      () => "",
    ])();
    const meta = { token, client: {}, limits: {}, ...(dice.chance(0.5) ? { resumes: true } : {}) };
    return [message(MessageType.hello, packr.pack(meta), dice)];
  },

  "tiny frames": (dice) => Array.from({ length: dice.from(2, 3000) }, () => new Uint8Array(dice.below(2))),
};

function message(type: number, meta: Uint8Array, dice: Dice, frames = 0, totalBytes = 0): Uint8Array {
  const head = new Uint8Array(HEADER_BYTES + meta.length);
  writeHeader(head, {
    type: type as MessageType,
    flags: dice.below(2),
    frames,
    session: dice.pick([0, 1, 2, 1000, 2 ** 32 - 1]),
    parentCall: dice.pick([0, 0, 7]),
    seq: dice.pick([0, 1, 2, 5, 2 ** 52]),
    ack: dice.pick([0, 1, 2 ** 32 - 1]),
    metaBytes: meta.length,
    totalBytes,
  });
  head.set(meta, HEADER_BYTES);
  return head;
}

/** With the mutated meta of another, and sizes that are right. */
function remade(head: Uint8Array, dice: Dice): Uint8Array {
  const meta = mutated(head.subarray(HEADER_BYTES), dice);
  const out = new Uint8Array(HEADER_BYTES + meta.length);
  out.set(head.subarray(0, HEADER_BYTES));
  out.set(meta, HEADER_BYTES);
  if (head.length >= HEADER_BYTES) new DataView(out.buffer).setUint32(24, meta.length, true);
  return out;
}

/** The codes of msgpack that claim most: a list, a map, text, bytes and an extension of four thousand million. */
const CLAIMS = [0xdd, 0xdf, 0xdb, 0xc6, 0xc9];

export function mutated(data: Uint8Array, dice: Dice): Uint8Array {
  const out = [...data];
  for (let changes = dice.from(1, 4); changes > 0; changes--) {
    const at = dice.below(out.length + 1);
    switch (dice.below(5)) {
      case 0:
        out.splice(at, 0, ...dice.bytes(dice.from(1, 8)));
        break;
      case 1:
        out.splice(at, dice.from(1, 8));
        break;
      case 2:
        out.splice(at, 5, dice.pick(CLAIMS), 255, 255, 255, 255);
        break;
      default:
        out.splice(at, 1, dice.below(256));
    }
  }
  return Uint8Array.from(out);
}

/** A header that claims much, or a batch with a tensor of more elements than there are atoms. */
function huge(dice: Dice): Uint8Array[] {
  const sizes = [2 ** 31, 2 ** 32, 2 ** 40, 2 ** 53, -1, 0, 1];
  if (dice.chance(0.5)) {
    const shape = Array.from({ length: dice.from(1, 70) }, () => dice.pick(sizes));
    const tensor = [4, 0, dice.pick(["float32", "uint8", "complex64", ""]), shape];
    const meta = { first: 16, operations: [[2, 1, ["identity"], [tensor], {}]] };
    return [message(MessageType.batch, packr.pack(meta), dice, 1, 8), new Uint8Array(8)];
  }
  const head = message(
    dice.pick([MessageType.hello, MessageType.batch]),
    packr.pack({ token: "", client: {}, limits: {} }),
    dice,
  );
  const view = new DataView(head.buffer);
  for (let i = dice.from(1, 3); i > 0; i--) {
    if (dice.chance(0.3)) view.setUint16(6, dice.pick([1, 1024, 1025, 65_535]), true);
    else if (dice.chance(0.5)) view.setUint32(24, dice.pick([0, 2 ** 26, 2 ** 31, 2 ** 32 - 1]), true);
    else view.setBigUint64(32, dice.pick([1n, 2n ** 36n, 2n ** 53n, 2n ** 64n - 1n]), true);
  }
  return [head];
}

/** Anything that msgpack can say, with the keys and values of a greeting and a batch among it. */
function anything(dice: Dice, depth: number): unknown {
  const leaves = [null, true, 0, 1, -1, 2 ** 31, 2 ** 40, 0.5, NaN, "", "token", "cpu", new Uint8Array(3), new Date(0)];
  if (depth === 0 || dice.chance(0.2)) return dice.pick(leaves);
  if (dice.chance(0.3)) return Array.from({ length: dice.below(5) }, () => anything(dice, depth - 1));
  const keys = [
    "token",
    "client",
    "limits",
    "settings",
    "resumes",
    "first",
    "operations",
    "lane",
    "contexts",
    "finalised",
    "x",
  ];
  return Object.fromEntries(Array.from({ length: dice.below(6) }, () => [dice.pick(keys), anything(dice, depth - 1)]));
}

/** Any characters, past ASCII and past the basic plane too. */
const text = (dice: Dice, length: number): string =>
  String.fromCodePoint(
    ...Array.from({ length }, () => dice.pick([dice.from(1, 127), dice.from(128, 0xd7ff), 0x1f600])),
  );
