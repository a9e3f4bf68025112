/** The sums over the steps of an epoch. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray, type NDArray } from "../../bridge/values/ndarray.ts";
import { numbersIn } from "../data/plain-numbers.ts";

/** A tensor with axes, as `compute` and `merge` get it. */
export interface SumArray extends NDArray {
  readonly dtype: "float64";
  readonly data: Float64Array;
}

interface Values {
  readonly [name: string]: unknown;
}

/** Numbers, and arrays of float64. (An int64 array would hold bigints.) */
export function plain(values: Values): Values {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, number(value)]));
}

/** Adds key by key, and arrays element by element. */
export function merged(one: Values, other: Values): Values {
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  return Object.fromEntries([...keys].map((key) => [key, sum(one[key], other[key], key)]));
}

function number(value: unknown): number | SumArray {
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") return Number(value);
  if (!isNDArray(value))
    throw new TorchwireError(
      "MISUSE",
      "a metric's update gave something that cannot be added up; numbers and tensors can",
    );
  return float64(value);
}

/** A copy in float64. */
export function float64(array: NDArray): SumArray {
  return { dtype: "float64", shape: array.shape, data: Float64Array.from(numbersIn(array, "a metric")) };
}

function sum(one: unknown, other: unknown, key: string): unknown {
  if (one === undefined || other === undefined) return one ?? other;
  if (typeof one === "number" && typeof other === "number") return one + other;
  const [a, b] = [one as SumArray, other as SumArray];
  if (a.data?.length !== b.data?.length)
    throw new TorchwireError(
      "MISUSE",
      `a metric's update gave ${key} of another shape than before; a sum must keep its shape`,
    );
  return { ...a, data: a.data.map((x, i) => x + b.data[i]!) };
}
