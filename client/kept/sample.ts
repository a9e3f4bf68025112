/** A sample as the worker keeps it: its arrays, and where they and its plain numbers stand. */
import { createHash } from "node:crypto";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import { isNDArray, type NDArray, toBytes } from "../../bridge/values/ndarray.ts";
import { arrayAt, differ, isNumber, kindOf, RAGGED, sideBySide, told } from "../data/collation.ts";
import { memberOf, type Tree } from "../data/tree.ts";
import type { Described } from "./described.ts";

/** One place in a sample: that of an array, or of a plain number. */
export class Leaf {
  readonly path: string;
  readonly kind: "part" | "number";
  /** Its place among the arrays, or among the numbers. */
  readonly at: number;

  constructor(path: string, kind: "part" | "number", at: number) {
    this.path = path;
    this.kind = kind;
    this.at = at;
  }
}

export const isLeaf = (value: unknown): value is Leaf => value instanceof Leaf;

/** What samples have in common that go into one batch. */
export interface Layout {
  readonly xs: Tree<Leaf>;
  readonly ys: Tree<Leaf>;
  readonly parts: readonly Described[];
  /** Tells shelves apart: the dtypes and shapes of the arrays. Hashes begin with it. */
  readonly shelf: string;
  /** Each place and those above it, in order: how errors name them. */
  readonly kinds: readonly { readonly path: string; readonly kind: string; readonly part?: Described }[];
  /** The first thing in it that cannot be in a sample. */
  readonly wrong: { readonly path: string; readonly value: unknown } | undefined;
}

/** A sample that is known. */
export interface Known {
  readonly layout: Layout;
  /** Of its arrays, as a string of 32 characters; empty where it has none. */
  readonly hash: string;
  readonly numbers: readonly unknown[];
}

/** Layouts by what they are, so that samples share one. */
export type Layouts = Map<string, Layout>;

/** Reads a sample. `checkLayouts` throws where it cannot be stacked. */
export function read(
  [xs, ys]: readonly [unknown, unknown],
  index: number,
  layouts: Layouts,
): { readonly known: Known; readonly arrays: readonly NDArray[] } {
  const arrays: NDArray[] = [];
  const numbers: unknown[] = [];
  const kinds: { path: string; kind: string; part?: Described }[] = [];
  const visit = (value: unknown, path: string): Tree<Leaf> => {
    const kind = kindOf(value);
    if (isNumber(value)) {
      kinds.push({ path, kind });
      return new Leaf(path, "number", numbers.push(value) - 1);
    }
    if (isNDArray(value) || ArrayBuffer.isView(value)) {
      const array = arrayAt([value], 0, { path, indices: [index] });
      kinds.push({ path, kind, part: { dtype: array.dtype, shape: array.shape } });
      return new Leaf(path, "part", arrays.push(array) - 1);
    }
    kinds.push({ path, kind });
    if (Array.isArray(value) && value.length > 0 && !value.every(isNumber))
      return value.map((part, i) => visit(part, `${path}[${i}]`));
    if (isPlainObject(value))
      return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, visit(part, memberOf(path, name))]));
    wrong ??= { path, value };
    return [];
  };
  let wrong: Layout["wrong"];
  const [left, right] = [visit(xs, "xs"), visit(ys, "ys")];
  const name = JSON.stringify(kinds);
  let layout = layouts.get(name);
  if (layout === undefined) {
    const parts = arrays.map(({ dtype, shape }) => ({ dtype, shape: [...shape] }));
    const shelf = parts.map(told).join(", ");
    layouts.set(name, (layout = { xs: left, ys: right, parts, shelf, kinds, wrong }));
  }
  return { known: { layout, hash: hashOf(layout, arrays), numbers }, arrays };
}

function hashOf({ shelf }: Layout, arrays: readonly NDArray[]): string {
  if (arrays.length === 0) return "";
  const hash = createHash("sha256").update(shelf);
  for (const { data } of arrays) hash.update(toBytes(data));
  return hash.digest("binary");
}

/** Throws BAD_DATA where samples do not go into one batch, or hold something that is not for samples. */
export function checkLayouts(samples: readonly Known[], indices: ArrayLike<number>): void {
  const [{ layout: first }] = samples as [Known];
  const other = samples.findIndex(({ layout }) => layout !== first);
  if (other < 0 && first.wrong === undefined) return;
  if (other < 0) sideBySide([first.wrong!.value], { path: first.wrong!.path, indices }, () => undefined);
  const { kinds } = samples[other]!.layout;
  for (const [i, { path, kind, part }] of first.kinds.entries()) {
    const its = kinds[i]!;
    if (its.kind !== kind) differ({ path, indices }, other, kind, its.kind);
    if (part === undefined || its.part === undefined || told(part) === told(its.part)) continue;
    const isRagged = part.dtype === its.part.dtype && part.shape.length === its.part.shape.length;
    differ({ path, indices }, other, told(part), told(its.part), isRagged ? RAGGED : "");
  }
}
