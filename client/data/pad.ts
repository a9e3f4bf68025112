/** Arrays of different lengths as one array: the shorter ones are filled up. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import {
  type DType,
  dtypes,
  fromBytes,
  isDType,
  isFloating,
  itemSize,
  isNDArray,
  type NDArray,
  sizeOf,
  toBytes,
} from "../../bridge/values/ndarray.ts";
import { choice, kind, text, wholeFrom } from "../options/kinds.ts";
import { keywordsOf, type Kinds } from "../options/keywords.ts";
import { alone, arrayAt, checkKinds, type Collation, differ, kindOf, noValues, told } from "./collation.ts";
import { fromNumbers } from "./numbers.ts";
import { numbersIn } from "./plain-numbers.ts";

/** Says which elements of a padded array came from samples. */
export interface MaskOptions {
  /**
   * Puts the mask beside the padded part, in its record, under this name: `attention_mask`. Without a name the part
   * becomes the list `[padded, mask]`, two inputs by position.
   */
  readonly name?: string;
  /** Its element type; the marks are 1. Default: bool. */
  readonly dtype?: DType;
  /**
   * "values", the default, marks what came from samples, as Hugging Face's `attention_mask` does. "padding" marks the
   * rest, as PyTorch's `key_padding_mask` does.
   */
  readonly marks?: "values" | "padding";
}

export interface PadOptions {
  /** Fills up the shorter arrays; their dtype must be able to hold it. Default: 0. */
  readonly value?: number | bigint | boolean;
  /**
   * Gives a mask as well, of shape [N, …] with the padded axes alone: true is `{}`, a name is `{ name }`. Default:
   * false.
   */
  readonly mask?: boolean | string | MaskOptions;
  /**
   * The axes of a sample that are padded, counted from 0; the others must have one length. Default: `[0]`, the time of
   * a sequence. Images of different sizes are `[0, 1]`.
   */
  readonly axes?: readonly number[];
  /** The end at which an array is filled up. Default: "right"; "left" is for models that go on with the text. */
  readonly side?: "right" | "left";
  /** Rounds each padded length up to a multiple of this. Default: 1. */
  readonly multipleOf?: number;
}

/** A collator that pads: it makes one array of one part of each sample. */
export type Pad<T> = (values: readonly unknown[], how?: Collation) => T;

/**
 * Pads one part of each sample to the longest in the batch: `[T, …]` of different T becomes `[N, T, …]`, with the bits
 * of `torch.nn.utils.rnn.pad_sequence(…, batch_first=True)`.
 *
 * It throws MISUSE for options that do not fit. The collator throws BAD_DATA, naming samples, where dtypes, numbers of
 * axes or the other axes differ, where the dtype cannot hold `value`, and where there are no values.
 */
export function pad(
  options: PadOptions & { readonly mask: true | (MaskOptions & { readonly name?: undefined }) },
): Pad<readonly [padded: NDArray, mask: NDArray]>;
export function pad(options?: PadOptions): Pad<NDArray>;
export function pad(options: PadOptions = {}): Pad<NDArray | readonly [NDArray, NDArray]> {
  keywordsOf("pad", KINDS, options);
  const { value = 0, axes = [0], side = "right", multipleOf = 1 } = options;
  const mask = maskOf(options.mask);
  const collator: Pad<NDArray | readonly [NDArray, NDArray]> = (values, how = alone(values.length)) => {
    if (values.length === 0) noValues("pad", how);
    checkKinds(values, how);
    if (!isNDArray(values[0]) && !ArrayBuffer.isView(values[0])) notAnArray(values[0], how);
    const arrays = values.map((_, i) => arrayAt(values, i, how));
    checkAxes(arrays, axes, how);
    const [{ dtype, shape }] = arrays as [NDArray];
    const longest = shape.map((n, axis) =>
      axes.includes(axis)
        ? Math.ceil(Math.max(...arrays.map((each) => each.shape[axis]!)) / multipleOf) * multipleOf
        : n,
    );
    const padded = filled(how.array(dtype, [arrays.length, ...longest]), fillOf(value, dtype, how));
    const rows = sizeOf(longest) * itemSize(dtype);
    for (const [i, array] of arrays.entries())
      place(array, longest, side, toBytes(padded.data).subarray(i * rows, (i + 1) * rows));
    if (mask === undefined) return padded;
    const lengths = arrays.map((array) => axes.map((axis) => array.shape[axis]!));
    const marks = marksOf(
      lengths,
      axes.map((axis) => longest[axis]!),
      side,
      mask,
      how,
    );
    if (mask.name === undefined) return [padded, marks];
    if (how.beside === undefined)
      throw new TorchwireError(
        "MISUSE",
        `pad: the mask ${mask.name} stands beside a part that has a name, and ${how.path} has none; mask: true gives [padded, mask]`,
      );
    how.beside(mask.name, marks);
    return padded;
  };
  const element = (dtype: DType, how: Collation): NDArray => fromBytes(dtype, [1], fillOf(value, dtype, how));
  known.set(collator, { element, axes, side, multipleOf });
  return collator;
}

/** How a collator pads, for whoever does the same elsewhere. */
export interface Padding extends Required<Pick<PadOptions, "axes" | "side" | "multipleOf">> {
  /** One element of a dtype, which fills up. */
  readonly element: (dtype: DType, how: Collation) => NDArray;
}

const known = new WeakMap<object, Padding>();

/** Undefined where `collator` was not made by `pad`. */
export const paddingOf = (collator: object): Padding | undefined => known.get(collator);

const KINDS: Kinds<PadOptions> = {
  value: kind(
    "a number, a bigint, true or false",
    (value) => typeof value === "number" || typeof value === "bigint" || typeof value === "boolean",
  ),
  mask: kind(
    "true, a name, or { name, dtype, marks }",
    (value) =>
      typeof value === "boolean" || text.send(value) !== undefined || (typeof value === "object" && value !== null),
  ),
  axes: kind(
    "a list of different axes, counted from 0",
    (value) =>
      Array.isArray(value) &&
      value.length > 0 &&
      value.every((axis) => Number.isSafeInteger(axis) && (axis as number) >= 0) &&
      new Set(value).size === value.length,
  ),
  side: choice("right", "left"),
  multipleOf: wholeFrom(1),
};

const MASK: Kinds<MaskOptions> = {
  name: text,
  dtype: kind(`one of ${dtypes.join(", ")}`, isDType),
  marks: choice("values", "padding"),
};

function maskOf(mask: PadOptions["mask"]): MaskOptions | undefined {
  if (mask === undefined || mask === false) return undefined;
  const options = mask === true ? {} : typeof mask === "string" ? { name: mask } : mask;
  keywordsOf("pad: mask", MASK, options);
  return options;
}

function notAnArray(value: unknown, { path, indices }: Collation): never {
  throw new TorchwireError(
    "BAD_DATA",
    `pad: ${path} of sample ${indices[0]} is ${kindOf(value)}, and only arrays have axes to pad; name the parts of a record: { tokens: pad() }`,
  );
}

function checkAxes(arrays: readonly NDArray[], axes: readonly number[], how: Collation): void {
  const [first] = arrays as [NDArray];
  const beyond = axes.find((axis) => axis >= first.shape.length);
  if (beyond !== undefined)
    throw new TorchwireError(
      "BAD_DATA",
      `pad: ${how.path} of sample ${how.indices[0]} is ${told(first)}, which has no axis ${beyond} to pad`,
    );
  for (const [i, other] of arrays.entries()) {
    const goes =
      other.dtype === first.dtype &&
      other.shape.length === first.shape.length &&
      other.shape.every((n, axis) => axes.includes(axis) || n === first.shape[axis]);
    if (goes) continue;
    const fixed = other.dtype === first.dtype && other.shape.length === first.shape.length;
    differ(how, i, told(first), told(other), fixed ? `; pad fills up axes [${axes.join(", ")}] alone` : "");
  }
}

/** The bytes of one element. Throws BAD_DATA where `dtype` cannot hold `value`. */
function fillOf(value: number | bigint | boolean, dtype: DType, { path }: Collation): Uint8Array {
  const number = typeof value === "bigint" && dtype === "int64" ? value : Number(value);
  // A complex number without an imaginary part.
  if (dtype === "complex64") return toBytes(Float32Array.of(Number(value), 0));
  const name = `pad: the value for ${path}`;
  const array = fromNumbers(number, name, dtype);
  if (isFloating(dtype) && Number.isFinite(number) && !Number.isFinite(numbersIn(array, name)[0]))
    throw new TorchwireError("BAD_DATA", `${name} is ${String(value)}, which ${dtype} cannot hold`);
  return toBytes(array.data);
}

function filled(array: NDArray, element: Uint8Array): NDArray {
  const bytes = toBytes(array.data);
  if (bytes.length > 0) bytes.set(element);
  for (let done = element.length; done < bytes.length; done *= 2)
    bytes.copyWithin(done, 0, Math.min(done, bytes.length - done));
  return array;
}

/** Copies `array` into the memory of a larger one, of shape `into`, at the end that is not filled up. */
function place({ dtype, shape, data }: NDArray, into: readonly number[], side: "right" | "left", to: Uint8Array): void {
  const from = toBytes(data);
  if (from.length === 0) return;
  // From the last axis that differs on, the elements lie side by side in both.
  const cut = Math.max(
    0,
    shape.findLastIndex((n, axis) => n !== into[axis]),
  );
  const outer = shape.slice(0, cut);
  const run = from.length / sizeOf(outer);
  const strides = into.map((_, axis) => sizeOf(into.slice(axis + 1)) * itemSize(dtype));
  const start = side === "right" ? 0 : shape.reduce((sum, n, axis) => sum + (into[axis]! - n) * strides[axis]!, 0);
  for (let k = 0; k < sizeOf(outer); k++) {
    let at = start;
    for (let axis = cut - 1, rest = k; axis >= 0; axis--) {
      at += (rest % outer[axis]!) * strides[axis]!;
      rest = Math.floor(rest / outer[axis]!);
    }
    to.set(from.subarray(k * run, (k + 1) * run), at);
  }
}

/** Marks the elements of each sample, whose padded axes have these `lengths`. */
function marksOf(
  lengths: readonly (readonly number[])[],
  longest: readonly number[],
  side: "right" | "left",
  { dtype = "bool", marks = "values" }: MaskOptions,
  how: Collation,
): NDArray {
  const [inside, outside] = (marks === "values" ? [1, 0] : [0, 1]).map((mark) => fillOf(mark, dtype, how));
  const mask = filled(how.array(dtype, [lengths.length, ...longest]), outside!);
  const bytes = toBytes(mask.data);
  const rows = sizeOf(longest) * itemSize(dtype);
  for (const [i, shape] of lengths.entries())
    place(filled(alone(0).array(dtype, shape), inside!), longest, side, bytes.subarray(i * rows, (i + 1) * rows));
  return mask;
}
