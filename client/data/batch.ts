/** A batch as the data gives it and as a step takes it. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { isRefusedPromise, lookAfter } from "../../bridge/reference/refused.ts";
import { described } from "../options/keywords.ts";
import { ArrayList } from "./list.ts";
import { mapTree } from "./tree.ts";
import type { Batch, Inputs, Values } from "./types.ts";

/** Whether `value` is one input or target, and not several. */
export const isValue = (value: unknown): value is Values =>
  isNDArray(value) || isReference(value) || value instanceof ArrayList;

/** Throws BAD_DATA where `item` is not a batch. */
export function toBatch(item: unknown): Batch {
  if (isReference(item)) return { xs: py.at(item, 0), ys: py.at(item, 1) };
  if (Array.isArray(item)) {
    if (item.length === 2) return { xs: item[0] as Inputs, ys: item[1] as Inputs };
    lookAfter(item);
    throw bad(`an array of ${item.length}`);
  }
  if (typeof item === "object" && item !== null && "xs" in item && "ys" in item) return item as Batch;
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

/**
 * What one side of a batch holds, however deep, each with its path. It may hold things that a handler is yet to convert,
 * but no promise: that throws BAD_DATA.
 */
export function namesOf(side: Inputs, name: string): [string, unknown][] {
  const found: [string, unknown][] = [];
  mapTree(
    side,
    name,
    (part): part is unknown => isValue(part) || !(Array.isArray(part) || isPlainObject(part)) || isRefusedPromise(part),
    (value, path) => {
      if (isRefusedPromise(value)) notAnInputOf(side, value, path);
      found.push([path, value]);
    },
    notAnInput,
  );
  return found;
}

/**
 * The same side with each array replaced. Throws BAD_DATA where it holds something else than arrays, references, and
 * lists and records of them.
 */
export const mapInputs = (side: Inputs, name: string, replace: (value: Values, path: string) => unknown): any =>
  mapTree(side, name, isValue, replace, (part, path) => notAnInputOf(side, part, path));

function notAnInputOf(side: Inputs, value: unknown, path: string): never {
  lookAfter(side, Infinity);
  return notAnInput(value, path);
}

/** Throws BAD_DATA: `value` is neither an array nor a reference. */
export function notAnInput(value: unknown, path: string): never {
  throw new TorchwireError(
    "BAD_DATA",
    isRefusedPromise(value)
      ? `${path} is a Promise: await it where the data gives the batch`
      : `${path} is ${described(value)}, which is neither an array { dtype, shape, data } nor a reference; toNDArray makes arrays of numbers and typed arrays`,
  );
}

function bad(what: string): TorchwireError {
  return new TorchwireError("BAD_DATA", `the data gave ${what} where a batch is needed: { xs, ys } or [xs, ys]`);
}
