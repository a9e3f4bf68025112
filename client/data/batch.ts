/** A batch as the data gives it and as a step takes it. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import { inner } from "../../bridge/reference/ref.ts";
import { isRefusedPromise, lookAfter } from "../../bridge/reference/refused.ts";
import { ArrayList } from "./list.ts";
import type { Batch, BatchLike, Inputs, Values } from "./types.ts";

export const isReference = (value: unknown): boolean => inner(value) !== undefined;

/** Whether `value` is one input or target, and not several. */
export const isValue = (value: unknown): value is Values =>
  isNDArray(value) || isReference(value) || value instanceof ArrayList;

/** Throws BAD_DATA where `item` is not a batch. */
export function toBatch(item: BatchLike): Batch {
  if (isReference(item)) return { xs: py.at(item, 0), ys: py.at(item, 1) };
  if (Array.isArray(item)) {
    if (item.length === 2) return { xs: item[0] as Inputs, ys: item[1] as Inputs };
    lookAfter(item);
    throw bad(`an array of ${item.length}`);
  }
  if (typeof item === "object" && item !== null && "xs" in item && "ys" in item) return item;
  lookAfter(item);
  throw bad(isNDArray(item) ? "an array without targets" : item === null ? "null" : typeof item);
}

/**
 * How many samples a batch has, where it says so or JavaScript can tell. Throws BAD_DATA where its arrays do not agree.
 */
export function samplesIn({ xs, ys, size }: Batch): number | undefined {
  if (size !== undefined) {
    if (Number.isSafeInteger(size) && size > 0) return size;
    throw new TorchwireError("BAD_DATA", `the size of a batch is ${String(size)}; it must be a whole number from 1`);
  }
  let known: { name: string; samples: number } | undefined;
  for (const [name, value] of [...namesOf(xs, "xs"), ...namesOf(ys, "ys")]) {
    if (!isNDArray(value) && !(value instanceof ArrayList)) continue;
    const [samples] = value instanceof ArrayList ? [value.length] : value.shape;
    if (samples === undefined)
      throw new TorchwireError("BAD_DATA", `${name} is a single number: a batch has an axis of samples`);
    if (known !== undefined && known.samples !== samples)
      throw new TorchwireError(
        "BAD_DATA",
        `${known.name} has ${known.samples} samples and ${name} has ${samples}: each input needs its target (where first axes do not count samples, the batch says its size: { xs, ys, size })`,
      );
    known ??= { name, samples };
  }
  return known?.samples;
}

/** The arrays of one side of a batch, each with its path. */
export function namesOf(side: Inputs, name: string): [string, Values][] {
  if (Array.isArray(side)) return side.map((value, i) => [`${name}[${i}]`, value as Values]);
  if (isValue(side)) return [[name, side]];
  if (isRefusedPromise(side))
    throw new TorchwireError("BAD_DATA", `${name} is a Promise: await it where the data gives the batch`);
  return Object.entries(side).map(([key, value]) => [`${name}.${key}`, value]);
}

/** The same side with each array replaced. */
export function mapInputs(side: Inputs, name: string, replace: (value: Values, path: string) => unknown): any {
  const replaced = namesOf(side, name).map(([path, value]) => replace(value, path));
  if (Array.isArray(side)) return replaced;
  if (isValue(side)) return replaced[0];
  return Object.fromEntries(Object.keys(side).map((key, i) => [key, replaced[i]]));
}

function bad(what: string): TorchwireError {
  return new TorchwireError("BAD_DATA", `the data gave ${what} where a batch is needed: { xs, ys } or [xs, ys]`);
}
