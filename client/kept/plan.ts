/** How a batch is made of what the worker keeps: what the worker does with each array, and where the results stand. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { NDArray } from "../../bridge/values/ndarray.ts";
import type { Collate, PartCollate, PartsCollate } from "../data/collate.ts";
import type { Collation } from "../data/collation.ts";
import { EncodedImages } from "../data/encoded.ts";
import { ArrayList, list, Packed } from "../data/list.ts";
import { paddingOf } from "../data/pad.ts";
import { stack } from "../data/stack.ts";
import { mapTree, memberOf, type Tree } from "../data/tree.ts";
import type { Batch, Inputs } from "../data/types.ts";
import { describe } from "./described.ts";
import { isLeaf, type Layout, type Leaf } from "./sample.ts";

/** What the worker does with one array of each sample. */
export type Way =
  | "stack"
  | "list"
  | readonly [element: NDArray, axes: readonly number[], side: string, multiple: number];

/** Makes one side of a batch, out of the arrays that the worker has put together. */
export type Build = (parts: readonly AnyRef[]) => Inputs;

export interface BatchPlan {
  readonly xs: Build;
  readonly ys: Build;
  /** Of a loose layout, for each array. */
  readonly ways: readonly Way[] | undefined;
}

/** Of samples that are stacked. `numbers`: those of all, at each place that has plain numbers. */
export function stacked({ xs, ys, parts }: Layout, numbers: readonly NDArray[], count: number): BatchPlan {
  const side =
    (tree: Tree<Leaf>): Build =>
    (made) =>
      mapTree(
        tree,
        "",
        isLeaf,
        ({ kind, at }) => {
          if (kind === "number") return numbers[at]!;
          const { dtype, shape } = parts[at]!;
          return describe(made[at]!, { dtype, shape: [count, ...shape] });
        },
        () => undefined as never,
      ) as Inputs;
  return { xs: side(xs), ys: side(ys), ways: undefined };
}

/** Goes through two trees of one form. */
function along<T, U>(
  tree: Tree<Leaf>,
  other: Tree<T>,
  make: (leaf: Leaf, one: T) => (made: readonly AnyRef[]) => U,
): (made: readonly AnyRef[]) => Tree<U> {
  if (isLeaf(tree)) return make(tree, other as T);
  const within = Object.entries(tree).map(
    ([name, each]) => [name, along(each, (other as Record<string, Tree<T>>)[name]!, make)] as const,
  );
  return (made) =>
    Array.isArray(tree)
      ? within.map(([, build]) => build(made))
      : Object.fromEntries(within.map(([name, build]) => [name, build(made)]));
}

/** Throws MISUSE where a part is collated by a function of the program's own. */
export function checkKeepable(collate: Collate): void {
  const check = (part: unknown, path: string): void => {
    if (part === undefined || part === stack || part === list) return;
    if (typeof part === "function" && paddingOf(part) === undefined)
      throw new TorchwireError(
        "MISUSE",
        `DataLoader: keep goes with the collators stack, list and pad(…), and ${path} is a function of your own, which makes batches here, of the samples: leave out one of them`,
      );
    if (typeof part === "object") for (const [name, each] of Object.entries(part!)) check(each, memberOf(path, name));
  };
  check(collate, "collate");
}

/** Of samples that `collate` puts together. `batch` is what it makes of their stand-ins. */
export function collatedPlan(
  { xs, ys, parts }: Layout,
  collate: PartsCollate,
  batch: Batch,
  how: (path: string) => Collation,
): BatchPlan {
  const ways: Way[] = parts.map(() => "stack");
  const array =
    (leaf: Leaf, { dtype, shape }: NDArray) =>
    (made: readonly AnyRef[]): AnyRef =>
      describe(made[leaf.at]!, { dtype, shape });
  const plan = (tree: Tree<Leaf>, by: PartCollate | undefined, out: Inputs): Build => {
    if (by === stack || by === undefined)
      return along<NDArray | EncodedImages, NDArray | AnyRef | EncodedImages>(
        tree,
        out as Tree<NDArray>,
        (leaf, one) => {
          if (!(one instanceof EncodedImages)) return leaf.kind === "number" ? (): NDArray => one : array(leaf, one);
          ways[leaf.at] = "list";
          return (made) => new EncodedImages(one.images, undefined, made[leaf.at]);
        },
      );
    if (by === list) {
      const { length, parts: packed } = out as ArrayList;
      const rows = along(tree, packed, (leaf, one) => {
        if (leaf.kind === "number") return () => one;
        ways[leaf.at] = "list";
        return (made) => new Packed(made[leaf.at]!, one.shapes, one.dtype);
      });
      return (made) => new ArrayList(length, rows(made));
    }
    const padding = typeof by === "function" ? paddingOf(by) : undefined;
    if (padding !== undefined) {
      const leaf = tree as Leaf;
      const [padded, ...mask] = (Array.isArray(out) ? out : [out]) as [NDArray, ...NDArray[]];
      const element = padding.element(padded.dtype, how(leaf.path));
      ways[leaf.at] = [element, padding.axes, padding.side, padding.multipleOf];
      const made = array(leaf, padded);
      return mask.length === 0 ? made : (those) => [made(those), ...mask];
    }
    // Names that are not of the sample are those of masks.
    const builds = Object.entries(out as object).map(([name, one]): [string, Build] => {
      const within = (tree as Record<string, Tree<Leaf> | undefined>)[name];
      const its = (by as Record<string, PartCollate | undefined>)[name];
      return [name, within === undefined ? (): Inputs => one as Inputs : plan(within, its, one as Inputs)];
    });
    return (made) =>
      Array.isArray(out)
        ? builds.map(([, build]) => build(made))
        : Object.fromEntries(builds.map(([name, build]) => [name, build(made)]));
  };
  return { xs: plan(xs, collate.xs, batch.xs), ys: plan(ys, collate.ys, batch.ys), ways };
}
