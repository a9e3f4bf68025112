import { constants } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import { endianness } from "node:os";
import { pipeline, type Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { createGunzip } from "node:zlib";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isURL } from "../../bridge/runtime/kinds.ts";
import { type DType, fromBytes, itemSize, type NDArray } from "../../bridge/values/ndarray.ts";
import { cannotRead, openRegularFile } from "../../bridge/runtime/regular-file.ts";
import { traced } from "../../bridge/errors/site.ts";

/** IDX's codes for element types. */
const elementTypes: ReadonlyMap<number, DType> = new Map([
  [0x08, "uint8"],
  [0x09, "int8"],
  [0x0b, "int16"],
  [0x0c, "int32"],
  [0x0d, "float32"],
  [0x0e, "float64"],
]);

const maxDimensions = 8;

/** The first allocation, in bytes: a header alone cannot make us allocate more. */
const firstAllocation = 1 << 16;

/**
 * Reads an IDX file (the format of MNIST and its relatives) into an array in this machine's byte order.
 *
 * The file may be gzipped: its first two bytes tell, not its name. Element types are uint8, int8, int16, int32, float32
 * and float64, in 1 to 8 dimensions. Memory grows with the bytes that arrive, whatever the header promises.
 *
 * Throws BAD_DATA, naming the file, where it cannot be read, is not IDX, or holds fewer or more bytes than its header
 * says.
 */
export function readIdx(path: string | URL): Promise<NDArray> {
  return traced("readIdx", async () => {
    const file = isURL(path) ? fileURLToPath(path) : path;
    try {
      const handle = await openRegularFile(file);
      try {
        return await readOpened(handle, file);
      } finally {
        await handle.close();
      }
    } catch (cause) {
      if (cause instanceof TorchwireError) throw cause;
      throw new TorchwireError("BAD_DATA", cannotRead("the IDX file ", file, cause), { cause });
    }
  });
}

async function readOpened(handle: FileHandle, file: string): Promise<NDArray> {
  const stat = await handle.stat();
  const { buffer: magic, bytesRead } = await handle.read(new Uint8Array(2), 0, 2, 0);
  const gzipped = bytesRead === 2 && magic[0] === 0x1f && magic[1] === 0x8b;

  // The caller closes the handle, so that an error closes it too.
  const raw = handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 1 << 20 });
  const chunks: Readable = gzipped ? pipeline(raw, createGunzip({ chunkSize: 1 << 18 }), ignoreEnd) : raw;

  let head: Uint8Array = new Uint8Array(0);
  let header: Header | undefined;
  let payload = new Uint8Array(0);
  let found = 0;
  for await (const chunk of chunks as AsyncIterable<Uint8Array>) {
    let rest = chunk;
    if (header === undefined) {
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
      header = parseHeader(head, file);
      if (header === undefined) continue;
      if (!gzipped) checkLength(header, stat.size - header.length, file);
      payload = new Uint8Array(gzipped ? Math.min(header.bytes, firstAllocation) : header.bytes);
      rest = head.subarray(header.length);
    }
    // Count surplus bytes for the error, but do not keep them.
    const room = header.bytes - found;
    if (room > 0) {
      const kept = rest.subarray(0, room);
      payload = grown(payload, found + kept.length, header.bytes);
      payload.set(kept, found);
    }
    found += rest.length;
  }
  if (header === undefined) throw bad(file, `it ends within its header, after ${count(head.length, "byte")}`);
  checkLength(header, found, file);

  toNativeOrder(payload, itemSize(header.dtype));
  return fromBytes(header.dtype, header.shape, payload);
}

interface Header {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Bytes of the header itself. */
  readonly length: number;
  /** Bytes that must follow it. */
  readonly bytes: number;
}

/** The header at the start of `head`, or undefined where more bytes are needed. */
function parseHeader(head: Uint8Array, file: string): Header | undefined {
  const [first, second, code, dimensions] = head;
  if ((first ?? 0) !== 0 || (second ?? 0) !== 0) {
    const start = Buffer.from(head.subarray(0, 4))
      .toString("hex")
      .replace(/..(?=.)/g, "$& ");
    throw bad(file, `an IDX file starts with two zero bytes, this one with ${start}`);
  }
  if (code === undefined || dimensions === undefined) return undefined;

  const dtype = elementTypes.get(code);
  if (dtype === undefined) throw bad(file, `its element type is 0x${hex(code)}, which IDX does not define`);
  if (dimensions < 1 || dimensions > maxDimensions)
    throw bad(file, `it claims ${count(dimensions, "dimension")}; 1 to ${maxDimensions} are possible`);

  const length = 4 + 4 * dimensions;
  if (head.length < length) return undefined;
  const view = new DataView(head.buffer, head.byteOffset, length);
  const shape = Array.from({ length: dimensions }, (_, i) => view.getUint32(4 + 4 * i));
  // Eight dimensions of 32 bits each: only a bigint holds their product exactly.
  const bytes = shape.reduce((product, n) => product * BigInt(n), BigInt(itemSize(dtype)));
  if (bytes > BigInt(constants.MAX_LENGTH))
    throw bad(
      file,
      `its header (${dtype}, shape [${shape.join(", ")}]) promises ${bytes} bytes, more than one array can hold`,
    );
  return { dtype, shape, length, bytes: Number(bytes) };
}

function checkLength({ dtype, shape, bytes }: Header, found: number, file: string): void {
  if (found === bytes) return;
  const fault = found < bytes ? "it is cut short" : "it holds more than its header says";
  throw bad(file, `${fault}: ${dtype} of shape [${shape.join(", ")}] is ${count(bytes, "byte")}, found ${found}`);
}

/** `payload`, or a copy with room for `needed` bytes: at least twice the room, at most `limit`. */
function grown(payload: Uint8Array<ArrayBuffer>, needed: number, limit: number): Uint8Array<ArrayBuffer> {
  if (needed <= payload.length) return payload;
  const larger = new Uint8Array(Math.min(limit, Math.max(needed, 2 * payload.length)));
  larger.set(payload);
  return larger;
}

/** IDX is big-endian. */
function toNativeOrder(payload: Uint8Array, size: number): void {
  if (size === 1 || endianness() === "BE") return;
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  if (size === 2) bytes.swap16();
  else if (size === 4) bytes.swap32();
  else bytes.swap64();
}

/** `pipeline` needs a callback. Errors reach the loop that reads the stream. */
function ignoreEnd(): void {}

function bad(file: string, what: string): TorchwireError {
  return new TorchwireError("BAD_DATA", `${file}: ${what}`);
}

const hex = (byte: number): string => byte.toString(16).padStart(2, "0");

const count = (n: number, thing: string): string => `${n} ${thing}${n === 1 ? "" : "s"}`;
