/** Reads wire-v1.json: its vectors, and its notation for values that JSON cannot hold. */
import { readFileSync } from "node:fs";
import { py } from "torchwire";
import { fromBytes, type DType } from "../../bridge/values/ndarray.ts";
import type { Limits } from "../../bridge/wire/limits.ts";
import type { Header } from "../../bridge/wire/header.ts";

export type Side = "client" | "worker";

export interface HeaderVector {
  name: string;
  fields: Header;
  hex: string;
}

export interface MessageVector {
  name: string;
  sender: Side;
  type: string;
  fields: { seq?: number; flags?: number; session?: number; parentCall?: number };
  meta: unknown;
  frames: string[];
  hex: string[];
}

export interface ArgumentVector {
  name: string;
  js: unknown;
  limits: Partial<Limits>;
  hex: string;
  frames: string[];
}

export interface ReplyVector extends ArgumentVector {
  mode: "settle" | "js" | "ndarray";
}

export interface RefusedMessage {
  name: string;
  by: Side[];
  limits: Partial<Limits>;
  hex: string[];
  says: string;
}

export interface RefusedValue {
  name: string;
  by: Side[];
  limits: Partial<Limits>;
  hex: string;
  frames: string[];
  says: string;
}

export interface Golden {
  headers: HeaderVector[];
  messages: MessageVector[];
  arguments: ArgumentVector[];
  replies: ReplyVector[];
  refusedMessages: RefusedMessage[];
  refusedValues: RefusedValue[];
}

export const golden: Golden = JSON.parse(readFileSync(new URL("wire-v1.json", import.meta.url), "utf8")) as Golden;

export const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));

export const toHex = (data: ArrayBufferView): string =>
  Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("hex");

/** Each vector with its name before it, for the title of its test. */
export const named = <T extends { name: string }>(vectors: readonly T[]): (readonly [string, T])[] =>
  vectors.map((vector) => [vector.name, vector] as const);

type Reader = (argument: never) => unknown;

const views = {
  Int8Array,
  Int16Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  Int32Array,
  Uint8Array,
  Uint8ClampedArray,
};

const float = (text: string): number => Number(text.replace("inf", "Infinity").replace("nan", "NaN"));

const shared: Record<string, Reader> = {
  $float: float,
  $int: (text: string) => BigInt(text),
  $tensor: ({ dtype, shape, hex }: { dtype: DType; shape: number[]; hex: string }) =>
    fromBytes(dtype, shape, bytes(hex)),
};

/** A value as a program writes it, to be sent. */
export function written(notation: unknown, reference: (id: number) => unknown = String): unknown {
  const read = (value: unknown): unknown => written(value, reference);
  return translate(notation, read, {
    ...shared,
    $undefined: () => undefined,
    $pyFloat: (text: string) => py.float(Number(text)),
    $bytes: (hex: string) => py.bytes(bytes(hex)),
    $tuple: (items: unknown[]) => py.tuple(...items.map(read)),
    $dict: (entries: [unknown, unknown][]) => record(entries.map(([key, value]) => [read(key), read(value)])),
    $slice: (parts: unknown[]) => py.slice(...(parts as [number, number, number])),
    $view: ([name, hex]: [keyof typeof views, string]) => new views[name](bytes(hex).buffer as ArrayBuffer),
    $ref: reference,
  });
}

/** A value as a program is given it. */
export function received(notation: unknown): unknown {
  return translate(notation, received, {
    ...shared,
    $bytes: bytes,
    $dict: (entries: [unknown, unknown][]) => record(entries.map(([key, value]) => [received(key), received(value)])),
  });
}

function translate(notation: unknown, read: (value: unknown) => unknown, readers: Record<string, Reader>): unknown {
  if (Array.isArray(notation)) return notation.map(read);
  if (typeof notation !== "object" || notation === null) return notation;
  const entries = Object.entries(notation);
  const [key, argument] = entries[0] ?? [];
  if (key?.startsWith("$") !== true) return Object.fromEntries(entries.map(([name, value]) => [name, read(value)]));
  const reader = readers[key];
  if (reader === undefined) throw new Error(`${key} is not in the notation here`);
  return reader(argument as never);
}

function record(entries: [unknown, unknown][]): unknown {
  return entries.every(([key]) => typeof key === "string")
    ? Object.fromEntries(entries as [string, unknown][])
    : new Map(entries);
}
