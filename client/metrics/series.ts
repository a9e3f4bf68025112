/** A history of every step. It reads like an array of { at, value }, and takes 16 bytes for each. */
import { inspect } from "node:util";
import type { MetricValue } from "../training/state.ts";

const PAIRS = 512;

const all = new WeakMap<object, () => Float64Array>();

/** The numbers of what `series` made, as [at, value, at, value, …]; undefined for anything else. */
export const pairsOf = (value: unknown): Float64Array | undefined => all.get(value as object)?.();

/** An array without holes: it grows at its end, and its elements can be replaced and cut off. */
export function series(): MetricValue[] {
  const pieces: Float64Array[] = [];
  let length = 0;
  const get = (i: number): MetricValue => {
    const piece = pieces[Math.floor(i / PAIRS)]!;
    const place = 2 * (i % PAIRS);
    return Object.freeze({ at: piece[place]!, value: piece[place + 1]! });
  };
  const set = (i: number, { at, value }: MetricValue): boolean => {
    if (i > length) return false;
    if (i === PAIRS * pieces.length) pieces.push(new Float64Array(2 * PAIRS));
    pieces[Math.floor(i / PAIRS)]!.set([at, value], 2 * (i % PAIRS));
    length = Math.max(length, i + 1);
    return true;
  };
  const cut = (to: number): boolean => {
    if (to > length) return false;
    length = to;
    pieces.length = Math.ceil(to / PAIRS);
    return true;
  };
  const push = (...values: readonly MetricValue[]): number => {
    for (const value of values) set(length, value);
    return length;
  };
  // Array's own moves what comes after from the far end on, so that there would be holes meanwhile.
  const splice = (...change: Parameters<MetricValue[]["splice"]>): MetricValue[] => {
    const all = Array.from({ length }, (_, i) => get(i));
    const removed = all.splice(...change);
    cut(0);
    for (const value of all) set(length, value);
    return removed;
  };
  const unshift = (...values: readonly MetricValue[]): number => {
    splice(0, 0, ...values);
    return length;
  };
  const own: Readonly<Record<string | symbol, unknown>> = { push, splice, unshift };
  const target: MetricValue[] = [];
  // Node would show the empty target behind the proxy.
  const shown = { configurable: true, value: () => Array.from({ length }, (_, i) => get(i)) };
  Object.defineProperty(target, inspect.custom, shown);
  const indexOf = (key: string | symbol): number => {
    const i = typeof key === "string" ? Number(key) : -1;
    return Number.isInteger(i) && i >= 0 && String(i) === key ? i : -1;
  };
  const made = new Proxy(target, {
    get(_, key) {
      if (key === "length") return length;
      if (Object.hasOwn(own, key)) return own[key];
      const i = indexOf(key);
      if (i >= 0) return i < length ? get(i) : undefined;
      return Reflect.get(target, key) as unknown;
    },
    set(_, key, value) {
      if (key === "length") return cut(value as number);
      const i = indexOf(key);
      return i >= 0 && set(i, value as MetricValue);
    },
    has: (_, key) => (indexOf(key) >= 0 ? indexOf(key) < length : Reflect.has(target, key)),
    ownKeys: () => [...Array.from({ length }, (_, i) => String(i)), "length"],
    getOwnPropertyDescriptor(_, key) {
      if (key === "length") return { value: length, writable: true, enumerable: false, configurable: false };
      const i = indexOf(key);
      return i >= 0 && i < length ? { value: get(i), writable: true, enumerable: true, configurable: true } : undefined;
    },
    deleteProperty: (_, key) => indexOf(key) === length - 1 && cut(length - 1),
    defineProperty: (_, key, { value }) => indexOf(key) >= 0 && set(indexOf(key), value as MetricValue),
  });
  all.set(made, () => {
    const pairs = new Float64Array(2 * length);
    for (const [i, piece] of pieces.entries())
      pairs.set(piece.subarray(0, Math.min(piece.length, pairs.length - 2 * PAIRS * i)), 2 * PAIRS * i);
    return pairs;
  });
  return made;
}
