/** A sample as the worker keeps it: its arrays, and where they and its plain numbers stand. */
import { createHash } from "node:crypto";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import { fromBytes, isNDArray, itemSize, type NDArray, sizeOf, toBytes } from "../../bridge/values/ndarray.ts";
import { arrayAt, differ, isNumber, kindOf, RAGGED, sideBySide, told } from "../data/collation.ts";
import { EncodedImage, isEncoded } from "../data/encoded-image.ts";
import { mapTree, memberOf, type Tree } from "../data/tree.ts";
import type { Described } from "./described.ts";

/** One place in a sample: that of an array, or of a plain number. */
export class Leaf {
  readonly path: string;
  readonly kind: "part" | "number";
  /** Its place among the arrays, or among the numbers. */
  readonly at: number;
  /** What the array is in the sample: an array, a typed array without a shape, or an image's file. */
  readonly form: "array" | "view" | "image";

  constructor(path: string, kind: "part" | "number", at: number, form: Leaf["form"] = "array") {
    this.path = path;
    this.kind = kind;
    this.at = at;
    this.form = form;
  }
}

export const isLeaf = (value: unknown): value is Leaf => value instanceof Leaf;

/** What samples have in common that go into one batch. */
export interface Layout {
  readonly xs: Tree<Leaf>;
  readonly ys: Tree<Leaf>;
  /** Its arrays. Those of a loose one have shapes of their own in each sample, and none here. */
  readonly parts: readonly Described[];
  readonly isLoose: boolean;
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
  /** Of its arrays. */
  readonly shapes: readonly (readonly number[])[];
  /** The images among them, by their place, without their bytes. */
  readonly images: ReadonlyMap<number, EncodedImage>;
}

/** Layouts by what they are, so that samples share one. */
export type Layouts = Map<string, Layout>;

/**
 * Reads a sample. `checkLayouts` throws where it cannot be stacked. `isCollated`: its arrays may have any shapes. The
 * files of images do in any case.
 */
export function read(
  [xs, ys]: readonly [unknown, unknown],
  index: number,
  layouts: Layouts,
  isCollated: boolean,
): { readonly known: Known; readonly arrays: readonly NDArray[] } {
  const arrays: NDArray[] = [];
  const numbers: unknown[] = [];
  const kinds: { path: string; kind: string; part?: Described }[] = [];
  const images = new Map<number, EncodedImage>();
  const isLoose = isCollated || hasImage(xs) || hasImage(ys);
  const visit = (value: unknown, path: string): Tree<Leaf> => {
    const kind = kindOf(value);
    if (isNumber(value)) {
      kinds.push({ path, kind });
      return new Leaf(path, "number", numbers.push(value) - 1);
    }
    if (isEncoded(value)) {
      const { bytes, name, shape } = value;
      kinds.push({ path, kind, part: { dtype: "uint8", shape: [] } });
      const at = arrays.push({ dtype: "uint8", shape: [bytes.length], data: bytes }) - 1;
      images.set(at, new EncodedImage(new Uint8Array(0), name, shape));
      return new Leaf(path, "part", at, "image");
    }
    if (isNDArray(value) || ArrayBuffer.isView(value)) {
      const array = arrayAt([value], 0, { path, indices: [index] });
      kinds.push({ path, kind, part: { dtype: array.dtype, shape: isLoose ? [] : array.shape } });
      return new Leaf(path, "part", arrays.push(array) - 1, isNDArray(value) ? "array" : "view");
    }
    kinds.push({ path, kind });
    if (Array.isArray(value) && (value.length === 0 || !value.every(isNumber)))
      return value.map((part, i) => visit(part, `${path}[${i}]`));
    if (isPlainObject(value)) {
      // Parts have their places by the names of members, since samples may have them in another order.
      const names = Object.keys(value);
      const made = new Map(names.toSorted().map((name) => [name, visit(value[name], memberOf(path, name))]));
      return Object.fromEntries(names.map((name) => [name, made.get(name)!]));
    }
    wrong ??= { path, value };
    // `standIn` gives it back.
    return new Leaf(path, "number", numbers.push(value) - 1);
  };
  let wrong: Layout["wrong"];
  const [left, right] = [visit(xs, "xs"), visit(ys, "ys")];
  const name = JSON.stringify(kinds);
  let layout = layouts.get(name);
  if (layout === undefined) {
    const parts = arrays.map(({ dtype, shape }) => ({ dtype, shape: isLoose ? [] : [...shape] }));
    const shelf = isLoose ? `loose ${parts.map(({ dtype }) => dtype).join(", ")}` : parts.map(told).join(", ");
    layouts.set(name, (layout = { xs: left, ys: right, parts, isLoose, shelf, kinds, wrong }));
  }
  const shapes = isLoose ? arrays.map(({ shape }) => [...shape]) : NONE;
  return { known: { layout, hash: hashOf(layout, shapes, arrays), numbers, shapes, images }, arrays };
}

const hasImage = (value: unknown): boolean =>
  isEncoded(value) ||
  (Array.isArray(value) ? value.some(hasImage) : isPlainObject(value) && Object.values(value).some(hasImage));

const NONE: readonly (readonly number[])[] = [];

function hashOf({ shelf, isLoose }: Layout, shapes: Known["shapes"], arrays: readonly NDArray[]): string {
  if (arrays.length === 0) return "";
  const hash = createHash("sha256").update(shelf);
  if (isLoose) hash.update(`${JSON.stringify(shapes)}\n`);
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
  // A difference that is not seen would put the parts of one sample in the places of another's.
  differ({ path: "sample", indices }, other, JSON.stringify(first.kinds), JSON.stringify(kinds));
}

let zeros = new ArrayBuffer(0);

/**
 * The same sample with zeros for its arrays, which takes no memory of its own: collators find by it what shapes a batch
 * has, its masks, and what does not go together.
 */
export function standIn({ layout, numbers, shapes, images }: Known): { xs: unknown; ys: unknown } {
  const leaf = ({ kind, at, form }: Leaf): unknown => {
    if (kind === "number") return numbers[at];
    const { dtype } = layout.parts[at]!;
    const size = sizeOf(shapes[at]!) * itemSize(dtype);
    if (size > zeros.byteLength) zeros = new ArrayBuffer(2 * size);
    const array = fromBytes(dtype, shapes[at]!, new Uint8Array(zeros, 0, size));
    const image = images.get(at);
    if (image !== undefined) return new EncodedImage(array.data as Uint8Array, image.name, image.shape);
    return form === "view" ? array.data : array;
  };
  const side = (tree: Tree<Leaf>): unknown => mapTree(tree, "", isLeaf, leaf, () => undefined as never);
  return { xs: side(layout.xs), ys: side(layout.ys) };
}
