/**
 * What a value is, whatever realm it was made in. A test runner runs each file in a realm of its own, whose `Array`, `Map` and `Error` are not those
 * that we or Node see: there `instanceof` and prototypes say no.
 */
import { types } from "node:util";

export const isDate: typeof types.isDate = types.isDate;
export const isMap: typeof types.isMap = types.isMap;
export const isPromise: typeof types.isPromise = types.isPromise;
export const isSet: typeof types.isSet = types.isSet;
export const isSharedArrayBuffer: typeof types.isSharedArrayBuffer = types.isSharedArrayBuffer;
export const isUint8Array: typeof types.isUint8Array = types.isUint8Array;

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array;
/** `Float32Array`, or `DataView`; of a Buffer, and of all subclasses, the kind that they are by nature. */
export const viewKind = (view: ArrayBufferView): string =>
  (Reflect.get(typedArray, Symbol.toStringTag, view) as string | undefined) ?? "DataView";

/** True where the memory of a typed array is not there any more: it was transferred, or has been made smaller than the array. */
export function isGone(view: ArrayBufferView): boolean {
  try {
    typedArray.at.call(view, 0);
    return false;
  } catch {
    return viewKind(view) !== "DataView";
  }
}

/** An object as a literal makes it, or one without a prototype. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === null || prototype === Object.prototype) return true;
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "isPrototypeOf");
}

export const isError = (value: unknown): value is Error =>
  value instanceof Error ||
  types.isNativeError(value) ||
  Object.prototype.toString.call(value) === "[object DOMException]";

export const isURL = (value: unknown): value is URL =>
  value instanceof URL ||
  (typeof value === "object" && value !== null && "href" in value && "protocol" in value && "pathname" in value);

/** What a thrown value says. */
export const messageOf = (error: unknown): string => (isError(error) ? error.message : String(error));

/** The class of an object, for an error: `Date`. */
export function classOf(value: object): string {
  if (ArrayBuffer.isView(value)) return viewKind(value);
  const { constructor } = value as { constructor?: { name?: unknown } };
  return typeof constructor === "function" && typeof constructor.name === "string" && constructor.name !== ""
    ? constructor.name
    : "object";
}
