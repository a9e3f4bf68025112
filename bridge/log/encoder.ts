/** Turns values of JavaScript into values of the wire: the arguments of operations. */
import { TorchwireError } from "../errors/errors.ts";
import { isKw } from "../reference/kw.ts";
import { PyBytesLiteral, PyFloatLiteral, PySliceLiteral, PyTupleLiteral } from "../reference/literals.ts";
import { inner, isPythonName, type Reference } from "../reference/ref.ts";
import { lookAfter } from "../reference/refused.ts";
import { classOf, isClass, isMap, isPlainObject, isPromise } from "../runtime/kinds.ts";
import { checkBooleans, checkNDArray, checkText } from "../values/check.ts";
import { checkMemory } from "../values/lend.ts";
import { dtypeOf, isNDArray, itemSize, piecesOf, withoutDType, type DType, type NDArray } from "../values/ndarray.ts";
import { Tag } from "../wire/codes.ts";
import { exceeded, type Limits } from "../wire/limits.ts";
import type { FramePool } from "./frame-pool.ts";
import type { AnyFunction } from "./functions.ts";

const NO_KEYWORDS: ReadonlyMap<string, unknown> = new Map();
/** The paths of arguments in errors, made once. */
const ARGUMENTS = Array.from({ length: 8 }, (_, i) => `args[${i}]`);

/** Whether a name needs no check: most are asked for again and again, and are known to be short text. */
export const isUsual = (name: string): boolean => name.length <= 64 && isPythonName(name);

const INT64 = { lowest: -(2n ** 63n), highest: 2n ** 64n - 1n };

/** Encodes the arguments of one operation. Its frames belong to the operation's batch. */
export class Encoder {
  readonly #frames: Uint8Array[];
  readonly #pool: FramePool;
  readonly #limits: Limits;
  readonly #nameOf: (reference: Reference) => number;
  readonly #pass: (fn: AnyFunction) => number;
  /** A rough count of the encoded bytes in the frames… */
  frameBytes = 0;
  /** …and in the meta. */
  metaBytes = 0;

  /** `pass` gives the place of a function among those of the batch. */
  constructor(
    frames: Uint8Array[],
    pool: FramePool,
    limits: Limits,
    nameOf: (reference: Reference) => number,
    pass: (fn: AnyFunction) => number,
  ) {
    this.#frames = frames;
    this.#pool = pool;
    this.#limits = limits;
    this.#nameOf = nameOf;
    this.#pass = pass;
  }

  /** A reference, as an operation names its target. */
  target(reference: Reference): number {
    return this.#nameOf(reference);
  }

  /** A name. It may be as long as text may be. `what` names it in errors. */
  name(name: string, what: string): string {
    return isUsual(name) ? name : (this.encode(name, what) as string);
  }

  /** The arguments of a call, by position and by name. */
  call(args: readonly unknown[]): [positional: unknown[], keywords: ReadonlyMap<string, unknown>] {
    const last = args.at(-1);
    const count = isKw(last) ? args.length - 1 : args.length;
    const positional: unknown[] = [];
    for (let i = 0; i < count; i++) positional.push(this.encode(args[i], ARGUMENTS[i] ?? `args[${i}]`));
    if (!isKw(last)) return [positional, NO_KEYWORDS];
    // In a Map every name is like any other. In an object "__proto__" is not, and msgpackr would look at "toJSON" and
    // "constructor".
    const keywords = new Map<string, unknown>();
    for (const [name, value] of Object.entries(last.values)) {
      keywords.set(this.name(name, "a name in kw"), this.encode(value, `kw.${name}`));
      this.metaBytes += name.length;
    }
    return [positional, keywords];
  }

  /** `path` names the value in errors: `args[1].transform`. */
  encode(value: unknown, path: string, depth = 0): unknown {
    this.metaBytes += 9;
    switch (typeof value) {
      case "boolean":
        return value;
      case "string":
        this.metaBytes += value.length < 1024 ? value.length : this.#sized(Buffer.byteLength(value), path);
        return checkText(value, path);
      case "undefined":
        return null;
      case "number":
        return encodeNumber(value);
      case "bigint":
        return value >= INT64.lowest && value <= INT64.highest ? value : [Tag.bigint, this.#hex(value, path)];
      case "function": {
        const reference = inner(value);
        if (reference === undefined) return this.#function(value as AnyFunction, path);
        return [Tag.reference, this.#nameOf(reference)];
      }
      case "object":
        return value === null ? null : this.#object(value, path, depth + 1);
      default:
        return refuse(value, path, `a ${typeof value} has no counterpart in Python`);
    }
  }

  /** A function that Python can call. Its id stands in the batch: the next step of a loop is the same bytes again. */
  #function(fn: AnyFunction, path: string): unknown {
    if (isClass(fn))
      refuse(fn, path, "a class of JavaScript cannot be called from Python; pass a function that makes one");
    this.metaBytes += 96;
    return [Tag.function, this.#pass(fn)];
  }

  #object(value: object, path: string, depth: number): unknown {
    if (depth > this.#limits.depth)
      throw exceeded(`${path} is nested ${depth} deep (or contains itself)`, "depth", this.#limits);
    if (Array.isArray(value)) return [Tag.list, ...this.#items(value, path, depth)];
    if (ArrayBuffer.isView(value)) return this.#typedArray(value, path);
    if (isNDArray(value)) return this.#tensor(value, path);
    if (value instanceof PyFloatLiteral) return encodeFloat(value.value);
    if (value instanceof PyTupleLiteral) return [Tag.tuple, ...this.#items(value.items, path, depth)];
    if (value instanceof PyBytesLiteral) {
      checkMemory(value.bytes, path);
      this.metaBytes += this.#sized(value.bytes.length, path);
      // A copy, because it is packed later.
      return new Uint8Array(value.bytes);
    }
    if (value instanceof PySliceLiteral)
      return [Tag.slice, ...[value.start, value.stop, value.step].map((part) => this.encode(part, path, depth))];
    if (isMap(value)) return this.#dict([...Map.prototype.entries.call(value)], path, depth);
    if (isKw(value)) return refuse(value, path, "kw({...}) must be the last argument of a call");
    if (isPlainObject(value)) return this.#dict(Object.entries(value), path, depth);
    if (isPromise(value)) return refuse(value, path, "a Promise has no value yet; await it first");
    return refuse(value, path, `a ${classOf(value)} has no counterpart in Python; send its parts as plain values`);
  }

  /** Not by `map`: a subclass of Array makes its own class there, whose constructor may want other arguments. */
  *#items(list: readonly unknown[], path: string, depth: number): Generator {
    for (let i = 0; i < list.length; i++) yield this.encode(list[i], `${path}[${i}]`, depth);
  }

  #dict(entries: [unknown, unknown][], path: string, depth: number): unknown[] {
    const token: unknown[] = [Tag.dict];
    for (const [key, value] of entries) {
      token.push(this.encode(key, `a key of ${path}`, depth), this.encode(value, memberPath(path, key), depth));
    }
    return token;
  }

  #typedArray(data: ArrayBufferView, path: string): unknown {
    checkMemory(data, path);
    const dtype = dtypeOf(data);
    if (dtype === undefined) return refuse(data, path, withoutDType(data));
    return this.#send(dtype, [data.byteLength / itemSize(dtype)], data, path);
  }

  #tensor(array: NDArray, path: string): unknown {
    checkNDArray(array, path);
    return this.#send(array.dtype, [...array.shape], array.data, path);
  }

  #send(dtype: DType, shape: number[], data: ArrayBufferView, path: string): unknown {
    const { dims, frameBytes } = this.#limits;
    if (shape.length > dims) throw exceeded(`${path} has ${shape.length} dimensions`, "dims", this.#limits);
    this.frameBytes += data.byteLength;
    const first = this.#frames.length;
    for (const piece of piecesOf(data, frameBytes)) {
      // A copy, unless it is lent: the socket reads it later, when the caller may have changed the array.
      const frame = this.#pool.frameOf(piece);
      this.#frames.push(frame);
      if (dtype === "bool") checkBooleans(frame, path);
    }
    const frames = this.#frames.length - first;
    return frames === 1 ? [Tag.tensor, first, dtype, shape] : [Tag.tensor, first, dtype, shape, frames];
  }

  #hex(value: bigint, path: string): string {
    const hex = toHex(value);
    this.metaBytes += this.#sized(hex.length, path);
    return hex;
  }

  #sized(bytes: number, path: string): number {
    if (bytes > this.#limits.textBytes) throw exceeded(`${path} has ${bytes} bytes`, "textBytes", this.#limits);
    return bytes;
  }
}

function encodeNumber(value: number): unknown {
  if (Number.isSafeInteger(value)) {
    if (Object.is(value, -0)) return encodeFloat(value);
    // msgpackr writes integers past 32 bits as floats, unless they are bigints.
    return value >= -(2 ** 31) && value < 2 ** 32 ? value : BigInt(value);
  }
  return Number.isInteger(value) ? encodeFloat(value) : value;
}

function encodeFloat(value: number): unknown {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value, true);
  return [Tag.float, bytes];
}

function toHex(value: bigint): string {
  return value < 0n ? `-${(-value).toString(16)}` : value.toString(16);
}

function memberPath(path: string, key: unknown): string {
  return typeof key === "string" && /^[\p{ID_Start}_$][\p{ID_Continue}$]*$/u.test(key)
    ? `${path}.${key}`
    : `${path}[${typeof key === "string" ? JSON.stringify(key) : String(key)}]`;
}

function refuse(value: unknown, path: string, why: string): never {
  lookAfter(value);
  throw new TorchwireError("NOT_SENDABLE", `${path}: ${why}`);
}
