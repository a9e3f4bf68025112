/** Values of Parquet as rows have them: plain numbers for whole numbers, null for nothing, and no shared memory. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isDate, isUint8Array } from "../../bridge/runtime/kinds.ts";

/** A whole number of 64 bits as a number, where numbers hold it. */
export type Whole = "number" | "bigint";

/**
 * A copy of `value`, with whole numbers of 64 bits as `whole` says. Throws BAD_DATA, beginning with `name`, for a whole
 * number that a number cannot hold.
 */
export function rowValue(value: unknown, whole: Whole, name: string): unknown {
  if (typeof value === "bigint") {
    if (whole === "bigint") return value;
    const number = Number(value);
    if (Number.isSafeInteger(number)) return number;
    throw new TorchwireError(
      "BAD_DATA",
      `${name} is ${value}, and numbers hold whole numbers up to 2^53; types: { ${name}: "bigint" } gives bigints`,
    );
  }
  if (value === undefined || value === null) return null;
  if (typeof value !== "object" || isDate(value)) return value;
  // A view of the memory of its whole page.
  if (isUint8Array(value)) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map((part) => rowValue(part, whole, name));
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, rowValue(part, whole, `${name}.${key}`)]));
}
