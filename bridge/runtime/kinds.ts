/**
 * Tells kinds of values apart, whatever realm made them. A test runner runs each file in a realm of its own, with an
 * `Array`, `Map` and `Error` of its own: `instanceof` and prototypes say no to them.
 */
import { types } from "node:util";

export const isDate: typeof types.isDate = types.isDate;
export const isMap: typeof types.isMap = types.isMap;
export const isPromise: typeof types.isPromise = types.isPromise;
export const isSet: typeof types.isSet = types.isSet;
export const isSharedArrayBuffer: typeof types.isSharedArrayBuffer = types.isSharedArrayBuffer;
export const isUint8Array: typeof types.isUint8Array = types.isUint8Array;

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array;
/** `Float32Array`, or `DataView`. A Buffer, like all subclasses, gives the kind that it is by nature. */
export const viewKind = (view: ArrayBufferView): string =>
  (Reflect.get(typedArray, Symbol.toStringTag, view) as string | undefined) ?? "DataView";

/** Whether the memory of a typed array is gone: it was transferred, or made smaller than the array. */
export function isGone(view: ArrayBufferView): boolean {
  try {
    typedArray.at.call(view, 0);
    return false;
  } catch {
    return viewKind(view) !== "DataView";
  }
}

/** Whether `value` is an object as a literal makes it, or one without a prototype. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === null || prototype === Object.prototype) return true;
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "isPrototypeOf");
}

/** Whether a function is a class, which must not be called. */
export const isClass = (fn: unknown): boolean => /^class\b/.test(Function.prototype.toString.call(fn));

export const isError = (value: unknown): value is Error =>
  value instanceof Error ||
  types.isNativeError(value) ||
  Object.prototype.toString.call(value) === "[object DOMException]";

export const isURL = (value: unknown): value is URL =>
  value instanceof URL ||
  (typeof value === "object" && value !== null && "href" in value && "protocol" in value && "pathname" in value);

/** The message of a thrown value. */
export const messageOf = (error: unknown): string => (isError(error) ? error.message : String(error));

/** The name of an object's class, for an error: `Date`. */
export function classOf(value: object): string {
  if (ArrayBuffer.isView(value)) return viewKind(value);
  const { constructor } = value as { constructor?: { name?: unknown } };
  return typeof constructor === "function" && typeof constructor.name === "string" && constructor.name !== ""
    ? constructor.name
    : "object";
}
