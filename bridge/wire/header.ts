/**
 * The fixed header that opens every message, little-endian. It tells version, sizes and order before anything is
 * decoded.
 *
 *     0 u16 magic "TW"    4 u8 type        8 u32 session       16 u64 seq           28 u32 ack
 *     2 u8  major         5 u8 flags      12 u32 parentCall    24 u32 meta bytes    32 u64 bytes of all frames
 *     3 u8  minor         6 u16 frames
 */
import { TorchwireError } from "../errors/errors.ts";

export const HEADER_BYTES = 40;
export const MAGIC = 0x5754;
export const MAJOR = 1;
export const MINOR = 0;

export const MessageType = {
  hello: 1,
  welcome: 2,
  batch: 3,
  reply: 4,
  ping: 5,
  pong: 6,
  log: 7,
  close: 8,
  closed: 9,
  fatal: 10,
  ack: 11,
  call: 12,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

/** Somebody awaits a value of this batch: its reply is not held back. */
export const URGENT = 1;

export interface Header {
  readonly type: MessageType;
  readonly flags: number;
  /** The number of tensor frames that follow. */
  readonly frames: number;
  /** Counts the connections of this session. The worker refuses an older one. */
  readonly session: number;
  /** The call in Python that this message serves while it waits, or 0. */
  readonly parentCall: number;
  readonly seq: number;
  /** The last batch whose reply is here, its low 32 bits. The worker can drop all replies up to it. */
  readonly ack: number;
  readonly metaBytes: number;
  readonly totalBytes: number;
}

const lowestType = MessageType.hello;
const highestType = MessageType.call;
const KNOWN_FLAGS = URGENT;

export function writeHeader(into: Uint8Array, header: Header): void {
  const view = new DataView(into.buffer, into.byteOffset, HEADER_BYTES);
  view.setUint16(0, MAGIC, true);
  view.setUint8(2, MAJOR);
  view.setUint8(3, MINOR);
  view.setUint8(4, header.type);
  view.setUint8(5, header.flags);
  view.setUint16(6, header.frames, true);
  view.setUint32(8, header.session, true);
  view.setUint32(12, header.parentCall, true);
  setSafeInteger(view, 16, header.seq);
  view.setUint32(24, header.metaBytes, true);
  view.setUint32(28, header.ack, true);
  setSafeInteger(view, 32, header.totalBytes);
}

/** Throws PROTOCOL unless `bytes` begins with a header of this version whose every field makes sense. */
export function readHeader(bytes: Uint8Array): Header {
  const refuse = (why: string): never => {
    throw new TorchwireError("PROTOCOL", `not a torchwire message: ${why}`);
  };
  if (bytes.length < HEADER_BYTES) refuse(`${bytes.length} bytes, a header has ${HEADER_BYTES}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  if (view.getUint16(0, true) !== MAGIC) refuse("it does not begin with TW");
  const major = view.getUint8(2);
  if (major !== MAJOR) {
    const older =
      major > MAJOR
        ? "this client is the older, update it: npm install torchwire@latest"
        : "the worker is the older, update it: its torchwire_worker folder or image must be of the same release as the client's npm package";
    refuse(`protocol version ${major}.${view.getUint8(3)}, this side speaks ${MAJOR}.${MINOR}; ${older}`);
  }
  const type = view.getUint8(4);
  if (type < lowestType || type > highestType) refuse(`message type ${type} is unknown`);
  const flags = view.getUint8(5);
  if ((flags & ~KNOWN_FLAGS) !== 0) refuse(`flags ${flags} are unknown`);
  return {
    type: type as MessageType,
    flags,
    frames: view.getUint16(6, true),
    session: view.getUint32(8, true),
    parentCall: view.getUint32(12, true),
    seq: getSafeInteger(view, 16),
    metaBytes: view.getUint32(24, true),
    ack: view.getUint32(28, true),
    totalBytes: getSafeInteger(view, 32),
  };
}

function setSafeInteger(view: DataView, offset: number, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is not a count`);
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}

function getSafeInteger(view: DataView, offset: number): number {
  const value = view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);
  if (!Number.isSafeInteger(value)) throw new TorchwireError("PROTOCOL", `a count in the header is past 2^53`);
  return value;
}
