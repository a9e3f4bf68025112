/** Checks of values that a program wants to send. */
import { TorchwireError } from "../errors/errors.ts";
import { viewKind } from "../runtime/kinds.ts";
import { checkMemory } from "./lend.ts";
import { dtypes, holderOf, holds, isDType, sizeOf, type NDArray } from "./ndarray.ts";

/**
 * Throws NOT_SENDABLE where dtype, shape and data do not fit each other, MISUSE where the memory was taken back. `what`
 * names the array in the error.
 */
export function checkNDArray(array: NDArray, what: string): void {
  const { dtype, shape, data } = array;
  const say = (text: string): never => {
    throw new TorchwireError("NOT_SENDABLE", `${what}: ${text}`);
  };
  if (!isDType(dtype)) say(`dtype is ${JSON.stringify(dtype)}; known are ${dtypes.join(", ")}`);
  if (!shape.every((n) => Number.isSafeInteger(n) && n >= 0)) say(`shape is [${shape.join(", ")}], not whole numbers`);
  if (!holds(dtype, data)) say(`dtype ${dtype} is held in a ${holderOf(dtype)}, not in a ${viewKind(data)}`);
  checkMemory(data, what);
  const elements = sizeOf(shape);
  const pairs = dtype === "complex64";
  if (data.length !== (pairs ? 2 * elements : elements))
    say(
      `shape [${shape.join(", ")}] has ${elements} elements, data has ${data.length}${pairs ? ", of which each takes two" : ""}`,
    );
}

/** Throws NOT_SENDABLE where a byte of a bool array is neither 0 nor 1. */
export function checkBooleans(bytes: Uint8Array, what: string): void {
  for (let i = 0; i < bytes.length; i++)
    if (bytes[i]! > 1)
      throw new TorchwireError("NOT_SENDABLE", `${what}: a bool is 0 or 1, and element ${i} is ${bytes[i]!}`);
}

/** Throws where `text` holds half of a surrogate pair, which no UTF-8 can carry. `what` names it in the error. */
export function checkText(text: string, what: string): string {
  if (/\p{Surrogate}/u.test(text))
    throw new TorchwireError("NOT_SENDABLE", `${what}: half of a surrogate pair is no text: ${JSON.stringify(text)}`);
  return text;
}
