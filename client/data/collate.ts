/** How the samples of a batch are put together. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isPlainObject, isPromise, messageOf } from "../../bridge/runtime/kinds.ts";
import { isNDArray, type NDArray } from "../../bridge/values/ndarray.ts";
import { described } from "../options/keywords.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { isValue, toBatch } from "./batch.ts";
import { checkKinds, type Collation, kindOf, membersOf, type NumberTypes } from "./collation.ts";
import type { Lease } from "./memory.ts";
import { stack } from "./stack.ts";
import { mapTree, memberOf, type Tree } from "./tree.ts";
import type { Batch, Inputs, Values } from "./types.ts";

/** Makes a part of a batch of that part of each sample: `stack`, `list`, `pad()`, or one of your own. */
export type Collator<T = unknown> = (values: readonly any[], how: Collation) => T;

/** A collator for a part, or for the parts of a record or a list by name or place. Parts without one are stacked. */
export type PartCollate<T = unknown> =
  | Collator<T>
  | readonly (PartCollate | undefined)[]
  | { readonly [name: string]: PartCollate | undefined };

export interface PartsCollate<X = unknown, Y = unknown> {
  readonly xs?: PartCollate<X>;
  readonly ys?: PartCollate<Y>;
}

/** The samples that `collate` gets: their indices, and the way to make parts whose memory is lent. */
export interface Collating {
  /** The index of each sample in the data. */
  readonly indices: readonly number[];
  /** The second argument of a collator; `path` names the part in errors: `pad()(tokens, part("xs"))`. */
  readonly part: (path: string) => Collation;
}

/**
 * A whole batch of its samples, as `get` gave them. It must return at once: what has to be waited for belongs into
 * `get`.
 */
export type CollateFunction<X extends Inputs = Inputs, Y extends Inputs = Inputs, S = any> = (
  samples: readonly S[],
  how: Collating,
) => { readonly xs: X; readonly ys: Y; readonly size?: number } | readonly [xs: X, ys: Y];

export type Collate<X extends Inputs = Inputs, Y extends Inputs = Inputs, S = any> =
  | CollateFunction<X, Y, S>
  | PartsCollate<X, Y>;

/** Samples of a data set, with the index of each. */
export interface Samples {
  readonly values: readonly unknown[];
  readonly indices: ArrayLike<number>;
}

/** The memory of a batch, and the dtypes that the first batch settled. */
export interface Room {
  readonly lease: Lease;
  readonly numbers: NumberTypes;
}

/** One batch of samples. Throws BAD_DATA, naming samples that do not go together. */
export function collated({ values, indices }: Samples, collate: Collate | undefined, { lease, numbers }: Room): Batch {
  const part = (path: string): Collation => ({
    indices,
    path,
    numbers,
    array: (dtype, shape) => lease.array(dtype, shape),
  });
  if (typeof collate === "function") return byFunction(collate, { values, indices }, part);
  const pairs = values.map((sample, i) => pairOf(sample, indices[i]!));
  const side = (which: 0 | 1, name: "xs" | "ys"): Inputs =>
    collatedPart(
      pairs.map((pair) => pair[which]),
      collate?.[name],
      part(name),
    );
  return { xs: side(0, "xs"), ys: side(1, "ys") };
}

/** Throws MISUSE where `collate` is neither a function nor a record of collators for xs and ys. */
export function checkCollate(collate: unknown): void {
  if (collate === undefined || typeof collate === "function") return;
  const wrong = (what: string): never => {
    throw new TorchwireError(
      "MISUSE",
      `${what}; collate is { xs, ys } with stack, list, pad(…) or a record of such for either, or a function (samples) => ({ xs, ys })`,
    );
  };
  if (!isPlainObject(collate)) return wrong(`collate is ${described(collate)}`);
  for (const name of Object.keys(collate)) if (name !== "xs" && name !== "ys") wrong(`collate has ${name}`);
  const check = (part: unknown, path: string): void => {
    if (part === undefined || typeof part === "function") return;
    if (Array.isArray(part)) for (const [i, each] of part.entries()) check(each, `${path}[${i}]`);
    else if (isPlainObject(part)) for (const [name, each] of Object.entries(part)) check(each, memberOf(path, name));
    else wrong(`${path} is ${described(part)}`);
  };
  check(collate["xs"], "collate.xs");
  check(collate["ys"], "collate.ys");
}

function byFunction(collate: CollateFunction, { values, indices }: Samples, part: Collating["part"]): Batch {
  const all = Array.from(indices);
  let made: unknown;
  try {
    // A collator of a part in this place gets what it needs to say what is wrong.
    made = collate(values, { ...part("the whole"), indices: all, part } satisfies Collating & Collation);
  } catch (error) {
    if (error instanceof TorchwireError) throw error;
    throw new TorchwireError("BAD_DATA", `collate failed for samples ${few(all)}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  if (isPromise(made))
    refuse(`collate gave a Promise for samples ${few(all)}; it must return at once: wait in the data set's get`, made);
  if (isReference(made) || !(Array.isArray(made) || isPlainObject(made)))
    refuse(`collate gave ${described(made)} for samples ${few(all)}; it must return { xs, ys } or [xs, ys]`, made);
  const batch = toBatch(made);
  checkPart(batch.xs, "xs");
  checkPart(batch.ys, "ys");
  return batch;
}

const few = (indices: readonly number[]): string =>
  indices.length > 4 ? `${indices.slice(0, 3).join(", ")} and ${indices.length - 3} more` : indices.join(", ");

function collatedPart(values: readonly unknown[], collate: PartCollate | undefined, how: Collation): Tree<Values> {
  if (collate === undefined) return stack(values, how) as Tree<NDArray>;
  if (typeof collate === "function") {
    const made = collate(values, how);
    checkPart(made, how.path);
    return made as Tree<Values>;
  }
  checkKinds(values, how);
  const [first] = values;
  if (Array.isArray(collate) ? !Array.isArray(first) : !isPlainObject(first))
    throw new TorchwireError(
      "BAD_DATA",
      `collate has ${Array.isArray(collate) ? "a list" : "names"} for the parts of ${how.path}, and sample ${how.indices[0]} has ${kindOf(first)} there`,
    );
  const names = Object.keys(first as object);
  const unknown = Object.keys(collate).find((name) => !names.includes(name));
  if (unknown !== undefined)
    throw new TorchwireError(
      "BAD_DATA",
      `collate has ${memberOf(how.path, unknown)}, and sample ${how.indices[0]} has ${kindOf(first)} there`,
    );
  if (Array.isArray(first)) {
    const { beside: _, ...within } = how;
    return first.map((_, i) =>
      collatedPart(membersOf(values, i), (collate as readonly PartCollate[])[i], {
        ...within,
        path: `${how.path}[${i}]`,
      }),
    );
  }
  const parts: Record<string, Tree<Values>> = {};
  for (const name of names) {
    const besides: [string, Tree<NDArray>][] = [];
    const beside = (other: string, part: Tree<NDArray>): void => {
      if (names.includes(other) || Object.hasOwn(parts, other))
        throw new TorchwireError(
          "BAD_DATA",
          `collate: ${how.path} has a part ${other} already; give the mask another name`,
        );
      besides.push([other, part]);
    };
    const collator = (collate as Record<string, PartCollate | undefined>)[name];
    parts[name] = collatedPart(membersOf(values, name), collator, { ...how, path: memberOf(how.path, name), beside });
    for (const [other, part] of besides) parts[other] = part;
  }
  return parts;
}

function checkPart(made: unknown, path: string): void {
  const wrong = (part: unknown, at: string): never =>
    refuse(
      `the collator of ${at} gave ${isNDArray(part) ? "a single number" : described(part)}; it must return at once an array { dtype, shape, data } with an axis of samples, a list(…), or several such`,
      part,
    );
  mapTree(made, path, isValue, (part, at) => isNDArray(part) && part.shape.length === 0 && wrong(part, at), wrong);
}

function refuse(message: string, made: unknown): never {
  if (isPromise(made)) made.catch(() => undefined);
  throw new TorchwireError("BAD_DATA", message);
}

export function pairOf(sample: unknown, index: number): readonly [unknown, unknown] {
  if (Array.isArray(sample) && sample.length === 2) return [sample[0], sample[1]];
  if (typeof sample === "object" && sample !== null && "xs" in sample && "ys" in sample) return [sample.xs, sample.ys];
  throw new TorchwireError("BAD_DATA", `sample ${index} is ${kindOf(sample)}; a sample is { xs, ys } or [xs, ys]`);
}
