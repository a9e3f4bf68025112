import { type NDArray, toBytes, type TypedArray } from "../../bridge/values/ndarray.ts";
import {
  alone,
  arrayAt,
  arrayOfNumbers,
  type Collation,
  differ,
  isNumber,
  noValues,
  RAGGED,
  sideBySide,
  told,
} from "./collation.ts";
import { EncodedImages } from "./encoded.ts";
import { type EncodedImage, isEncoded } from "./encoded-image.ts";

/**
 * Stacks one part of each sample along a new first axis, as a `DataLoader` does by default. Records and lists of parts
 * keep their structure. Plain numbers are labels (int64) where they are whole, else float32.
 *
 * Throws BAD_DATA, naming two samples, where shapes, dtypes or structures differ.
 */
export function stack<V>(values: readonly V[], how: Collation = alone(values.length)): Stacked<V> {
  if (values.length === 0) noValues("stack", how);
  return sideBySide(values, how, stacked) as Stacked<V>;
}

/** The structure of a sample's part, with an array for each array or number. */
export type Stacked<V> = 0 extends 1 & V
  ? NDArray
  : V extends EncodedImage
    ? EncodedImages
    : V extends NDArray | TypedArray | number | boolean | bigint
      ? NDArray
      : { readonly [K in keyof V]: Stacked<V[K]> };

function stacked(values: readonly unknown[], how: Collation): NDArray | EncodedImages {
  if (isNumber(values[0])) return arrayOfNumbers(values, how);
  if (isEncoded(values[0])) return new EncodedImages(values as readonly EncodedImage[], how);
  const first = arrayAt(values, 0, how);
  const { dtype, shape, data } = first;
  const batch = how.array(dtype, [values.length, ...shape]);
  const bytes = toBytes(batch.data);
  const length = data.byteLength;
  bytes.set(toBytes(data));
  for (let i = 1; i < values.length; i++) {
    const other = arrayAt(values, i, how);
    if (
      other.dtype !== dtype ||
      other.shape.length !== shape.length ||
      other.shape.some((n, axis) => n !== shape[axis])
    )
      differ(how, i, told(first), told(other), isRagged(first, other) ? RAGGED : "");
    bytes.set(toBytes(other.data), i * length);
  }
  return batch;
}

const isRagged = (one: NDArray, other: NDArray): boolean =>
  one.dtype === other.dtype && one.shape.length === other.shape.length;
