/**
 * Messages. The first frame has the header and the meta, which is one msgpack map; each tensor's raw bytes are a frame
 * of their own.
 */
import { Packr } from "msgpackr";
import { TorchwireError } from "../errors/errors.ts";
import { classOf, isPlainObject, isUint8Array } from "../runtime/kinds.ts";
import { HEADER_BYTES, readHeader, writeHeader, type Header, type MessageType } from "./header.ts";
import { exceeded, type Limits } from "./limits.ts";

// With "auto", safe integers come back as numbers, larger ones as bigints. (msgpackr's typings do not know it.)
const int64AsType = "auto" as "number";
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true, variableMapSize: true, int64AsType });

export interface Outgoing {
  readonly type: MessageType;
  readonly meta: Readonly<Record<string, unknown>>;
  readonly frames?: readonly Uint8Array[];
  readonly flags?: number;
  readonly session?: number;
  readonly parentCall?: number;
  readonly seq?: number;
  readonly ack?: number;
}

export interface Incoming {
  readonly header: Header;
  readonly meta: Readonly<Record<string, unknown>>;
  readonly frames: readonly Uint8Array[];
}

export function encodeMessage(message: Outgoing, limits: Limits): Uint8Array[] {
  const frames = message.frames ?? [];
  const meta = packr.pack(packable(message.meta));
  let totalBytes = 0;
  for (const frame of frames) {
    check("bytes of a frame", frame.length, "frameBytes", limits);
    totalBytes += frame.length;
  }
  checkSizes(frames.length, totalBytes, meta.length, limits);
  const head = Buffer.allocUnsafe(HEADER_BYTES + meta.length);
  writeHeader(head, {
    type: message.type,
    flags: message.flags ?? 0,
    frames: frames.length,
    session: message.session ?? 1,
    parentCall: message.parentCall ?? 0,
    seq: message.seq ?? 0,
    ack: (message.ack ?? 0) >>> 0,
    metaBytes: meta.length,
    totalBytes,
  });
  meta.copy(head, HEADER_BYTES);
  return [head, ...frames];
}

export function decodeMessage(parts: readonly Uint8Array[], limits: Limits): Incoming {
  const [head, ...frames] = parts;
  if (head === undefined) throw new TorchwireError("PROTOCOL", "not a torchwire message: it has no frame");
  const header = readHeader(head);
  const refuse = (what: string, found: number, told: number): never => {
    throw new TorchwireError("PROTOCOL", `a message is cut or padded: ${found} ${what}, its header says ${told}`);
  };
  if (head.length - HEADER_BYTES !== header.metaBytes)
    refuse("bytes of meta", head.length - HEADER_BYTES, header.metaBytes);
  if (frames.length !== header.frames) refuse("frames", frames.length, header.frames);
  const totalBytes = frames.reduce((sum, frame) => sum + frame.length, 0);
  if (totalBytes !== header.totalBytes) refuse("bytes of frames", totalBytes, header.totalBytes);
  checkSizes(frames.length, totalBytes, header.metaBytes, limits);
  return { header, meta: metaIn(head), frames };
}

/** The meta of a message, of its first part. */
export const metaIn = (head: Uint8Array): Readonly<Record<string, unknown>> => unpackMap(head.subarray(HEADER_BYTES));

function unpackMap(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  let meta: unknown;
  try {
    meta = packr.unpack(bytes);
  } catch (cause) {
    throw new TorchwireError("PROTOCOL", "a message's meta is not msgpack", { cause });
  }
  // (msgpackr makes a Date, an Error or a Set of extensions: these are no maps either.)
  if (typeof meta !== "object" || meta === null || !isPlainObject(meta))
    throw new TorchwireError("PROTOCOL", "a message's meta is not a map");
  return meta;
}

function checkSizes(frames: number, totalBytes: number, metaBytes: number, limits: Limits): void {
  check("frames in a message", frames, "frames", limits);
  check("bytes in the frames of a message", totalBytes, "messageBytes", limits);
  check("bytes of meta", metaBytes, "metaBytes", limits);
}

function check(what: string, found: number, name: keyof Limits, limits: Limits): void {
  if (found > limits[name]) throw exceeded(`${found} ${what}`, name, limits);
}

/**
 * `value` as msgpackr may have it. msgpackr garbles values that it has no form for: a Float32Array goes out as
 * truncated elements and uninitialised memory, an Error as an array, a Date as an extension. So it gets only plain
 * data. It writes whole numbers past 32 bits as floats, unless they are bigints.
 */
function packable(value: unknown): unknown {
  switch (typeof value) {
    case "number":
      return Number.isSafeInteger(value) && (value >= 2 ** 32 || value < -(2 ** 31)) ? BigInt(value) : value;
    case "string":
    case "boolean":
    case "undefined":
    case "bigint":
      return value;
    case "object": {
      if (value === null || isUint8Array(value)) return value;
      if (Array.isArray(value)) {
        let copy: unknown[] | undefined;
        for (let i = 0; i < value.length; i++) {
          const item = packable(value[i]);
          if (!Object.is(item, value[i])) (copy ??= [...value])[i] = item;
        }
        return copy ?? value;
      }
      // Names that a user chooses are only in Maps: msgpackr would look at some of them in an object.
      if (value instanceof Map && [...value.keys()].every((key) => typeof key === "string"))
        return new Map([...value].map(([key, item]) => [key, packable(item)]));
      if (isPlainObject(value)) {
        let copy: Record<string, unknown> | undefined;
        for (const key in value) {
          const item = packable(value[key]);
          if (!Object.is(item, value[key])) (copy ??= { ...value })[key] = item;
        }
        return copy ?? value;
      }
    }
  }
  const name = typeof value === "object" ? classOf(value!) : typeof value;
  throw new TorchwireError("NOT_SENDABLE", `a ${name} cannot be part of a message's meta`);
}
