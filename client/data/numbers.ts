import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isGone, viewKind } from "../../bridge/runtime/kinds.ts";
import { bfloat16, float16 } from "../../bridge/values/half.ts";
import {
  type DType,
  dtypeOf,
  isFloating,
  itemSize,
  fromBytes,
  type NDArray,
  sizeOf,
  type TypedArray,
  withoutDType,
} from "../../bridge/values/ndarray.ts";

/**
 * Numbers, booleans or bigints, nested as an array's dimensions are. A typed array may stand for the innermost list.
 */
export type Numbers = number | boolean | bigint | readonly (Numbers | TypedArray | Uint8ClampedArray)[];

/** Deeper than any tensor: a list that is nested further contains itself. */
const MOST_DIMENSIONS = 64;

/** Whether `x` is a number, or a list whose first element is one, however deep. An empty list counts. */
export function isNumbers(x: unknown): x is Numbers {
  let first = x;
  for (let depth = 0; Array.isArray(first) && depth <= MOST_DIMENSIONS; depth++) {
    if (first.length === 0) return true;
    first = first[0];
    if (ArrayBuffer.isView(first)) return true;
  }
  return isScalar(first);
}

/** Whether `x` is a list of whole numbers, as labels are: one dimension with at least one element. */
export function isLabels(x: unknown): x is readonly number[] {
  return Array.isArray(x) && x.length > 0 && x.every((n) => Number.isSafeInteger(n));
}

/** An array of `numbers`; `name` names it in errors. Throws BAD_DATA with the place of an element that does not fit. */
export function fromNumbers(numbers: Numbers, name: string, asked: DType | undefined): NDArray {
  const { shape, first } = outline(numbers, name);
  const rows = typeof first === "object";
  const own = rows ? dtypeOf(first) : first === undefined ? undefined : DTYPES[typeof first as keyof typeof DTYPES];
  if (rows && own === undefined) throw new TorchwireError("BAD_DATA", `${name}: ${withoutDType(first)}`);
  if (asked !== undefined && own !== undefined && asked !== own && typeof first !== "number")
    throw new TorchwireError(
      "BAD_DATA",
      `${name} is ${own}, dtype asks for ${asked}; only plain numbers are converted`,
    );
  const dtype = asked ?? own ?? "float32";

  const array = fromBytes(dtype, shape, new Uint8Array(sizeOf(shape) * itemSize(dtype)));
  const put = writer(dtype, array.data, typeof first);
  const place: number[] = [];
  const wrong = (why: string): never => {
    throw new TorchwireError("BAD_DATA", `${name}${place.map((i) => `[${i}]`).join("")} ${why}`);
  };
  let at = 0;
  const fill = (part: unknown, depth: number): void => {
    if (depth === shape.length) {
      if (typeof part !== typeof first) wrong(`is ${inWords(part)}, where those before it are each a ${typeof first}`);
      const fault = put(at++, part);
      if (fault !== undefined) wrong(fault);
      return;
    }
    const length = shape[depth]!;
    const isRow = rows && depth === shape.length - 1;
    if (isRow ? !ArrayBuffer.isView(part) || dtypeOf(part) !== own : !Array.isArray(part))
      wrong(`is ${inWords(part)}, where a ${isRow ? viewKind(first) : "list"} of ${length} was expected`);
    if (isRow && isGone(part as ArrayBufferView))
      wrong("is an array whose memory is gone: its ArrayBuffer was transferred, or made smaller");
    const list = part as ArrayLike<unknown>;
    if (list.length !== length)
      wrong(`has ${list.length} elements, where those before it have ${length}: each row needs the same length`);
    if (isRow) {
      (array.data as Float32Array).set(list as Float32Array, at);
      at += length;
      return;
    }
    for (let i = 0; i < length; i++) {
      place.push(i);
      fill(list[i], depth + 1);
      place.pop();
    }
  };
  fill(numbers, 0);
  return array;
}

const DTYPES = { number: "float32", boolean: "bool", bigint: "int64" } as const;

const isScalar = (x: unknown): x is number | boolean | bigint =>
  typeof x === "number" || typeof x === "boolean" || typeof x === "bigint";

/** The shape by the first element of each dimension, and the very first element: a number, a row, or undefined. */
function outline(
  numbers: Numbers,
  name: string,
): { shape: number[]; first: number | boolean | bigint | ArrayBufferView | undefined } {
  const shape: number[] = [];
  let first: unknown = numbers;
  while (Array.isArray(first)) {
    if (shape.length === MOST_DIMENSIONS)
      throw new TorchwireError("BAD_DATA", `${name} is nested more than ${MOST_DIMENSIONS} deep (or contains itself)`);
    shape.push(first.length);
    first = first[0];
  }
  if (ArrayBuffer.isView(first)) shape.push((first as Uint8Array).length);
  return { shape, first: isScalar(first) || ArrayBuffer.isView(first) ? first : undefined };
}

/** Writes one element, or returns the reason why it does not fit. */
function writer(dtype: DType, data: TypedArray, from: string): (at: number, value: unknown) => string | undefined {
  const no = (value: unknown): string => `is ${String(value)}, which ${dtype} cannot hold`;
  if (dtype === "int64") {
    const whole = data as BigInt64Array;
    return (at, value) => {
      if (from === "number" && !Number.isSafeInteger(value)) return no(value);
      const big = BigInt(value as number | bigint);
      whole[at] = big;
      return whole[at] === big ? undefined : no(value);
    };
  }
  if (dtype === "complex64")
    return () => "is a number, and complex64 needs pairs: give a Float32Array of them, and a shape";
  if (dtype === "float16" || dtype === "bfloat16") {
    const half = dtype === "float16" ? float16 : bfloat16;
    return (at, value) => void (data[at] = half.from([Number(value)])[0]!);
  }
  const numbers = data as Float32Array;
  const isFloat = isFloating(dtype);
  return (at, value) => {
    const number = Number(value);
    if (dtype === "bool" && number !== 0 && number !== 1) return no(value);
    numbers[at] = number;
    return isFloat || numbers[at] === number ? undefined : no(value);
  };
}

function inWords(part: unknown): string {
  if (Array.isArray(part)) return `a list of ${part.length}`;
  if (ArrayBuffer.isView(part)) return `a ${viewKind(part)}`;
  return part === null || part === undefined || isScalar(part) ? String(part) : `a ${typeof part}`;
}
