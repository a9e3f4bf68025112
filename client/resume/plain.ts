/** Values of JavaScript as JSON, to the bit: what JSON lacks stands in objects with one key that begins with "$". */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { fromBytes, isNDArray, toBytes, type DType } from "../../bridge/values/ndarray.ts";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import { pairsOf, series } from "../metrics/series.ts";
import { described } from "../options/keywords.ts";
import type { MetricValue } from "../training/state.ts";

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** `at` names the value in errors. Throws MISUSE for what is no plain value: a function, a reference, an instance. */
export function toPlain(value: unknown, at: string): Json {
  switch (typeof value) {
    case "boolean":
    case "string":
      return value;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0)
        ? value
        : { $number: Object.is(value, -0) ? "-0" : String(value) };
    case "bigint":
      return { $bigint: String(value) };
    case "undefined":
      return { $undefined: true };
  }
  if (value === null) return null;
  const pairs = pairsOf(value);
  if (pairs !== undefined) return { $series: base64(pairs) };
  if (isNDArray(value)) return { $array: [value.dtype, [...value.shape], base64(toBytes(value.data))] };
  if (Array.isArray(value)) return listOf(value, at);
  if (value instanceof Map) return { $map: [...value].map((entry) => toPlain(entry, `${at} (an entry)`)) };
  if (value instanceof Set) return { $set: [...value].map((item) => toPlain(item, `${at} (an item)`)) };
  if (!isPlainObject(value))
    throw new TorchwireError(
      "MISUSE",
      `${at} is ${described(value)}, which a checkpoint cannot hold: numbers, text, arrays and records of them can be, and an object in the worker by learner.track(name, object)`,
    );
  const entries = Object.entries(value).map(([key, item]) => [key, toPlain(item, `${at}.${key}`)] as const);
  const plain = entries.some(([key]) => key.startsWith("$")) ? { $object: entries } : Object.fromEntries(entries);
  return Object.isFrozen(value) ? { $frozen: plain } : plain;
}

interface Made {
  readonly items: readonly unknown[];
  readonly plain: readonly Json[];
}

/** Lists of records that cannot change, as they were when they were made plain last. */
const made = new WeakMap<readonly unknown[], Made>();

/**
 * A history grows by an item an epoch. Its older items are frozen, and are not made plain again: a fit of many short
 * epochs would be busy with that alone.
 */
function listOf(list: readonly unknown[], at: string): readonly Json[] {
  const before = made.get(list);
  let same = 0;
  if (before !== undefined) while (same < before.items.length && before.items[same] === list[same]) same++;
  const more = list.slice(same).map((item, i) => toPlain(item, `${at}[${same + i}]`));
  const plain = same > 0 ? [...before!.plain.slice(0, same), ...more] : more;
  if (list.slice(same).every(isForGood)) made.set(list, { items: [...list], plain });
  else made.delete(list);
  return plain;
}

const isForGood = (item: unknown): boolean =>
  typeof item === "object" &&
  item !== null &&
  Object.isFrozen(item) &&
  Object.values(item).every((value) => typeof value !== "object");

export function fromPlain(value: Json): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return (value as readonly Json[]).map(fromPlain);
  const [[kind, inner] = ["", null], ...more] = Object.entries(value);
  if (more.length > 0 || !kind.startsWith("$"))
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromPlain(item)]));
  switch (kind) {
    case "$number":
      return Number(inner);
    case "$bigint":
      return BigInt(inner as string);
    case "$undefined":
      return undefined;
    case "$frozen":
      return Object.freeze(fromPlain(inner));
    case "$series":
      return seriesOf(new Float64Array(bytesIn(inner as string).buffer));
    case "$array": {
      const [dtype, shape, data] = inner as unknown as [DType, number[], string];
      return fromBytes(dtype, shape, bytesIn(data));
    }
    case "$map":
      return new Map((inner as readonly Json[]).map(fromPlain) as [unknown, unknown][]);
    case "$set":
      return new Set((inner as readonly Json[]).map(fromPlain));
    default:
      return Object.fromEntries(
        (inner as readonly (readonly [string, Json])[]).map(([key, item]) => [key, fromPlain(item)]),
      );
  }
}

const base64 = ({ buffer, byteOffset, byteLength }: ArrayBufferView): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString("base64");

/** In memory of its own, so that numbers of 8 bytes may lie in it. */
const bytesIn = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(text, "base64"));

function seriesOf(pairs: Float64Array): MetricValue[] {
  const all = series();
  for (let i = 0; i < pairs.length; i += 2) all.push({ at: pairs[i]!, value: pairs[i + 1]! });
  return all;
}
