/** ZMTP 3.0 by hand, in bytes: what no library would send. */

const ascii = (text: string): Buffer => Buffer.from(text, "latin1");

interface Greeting {
  readonly major?: number;
  readonly minor?: number;
  readonly asServer?: boolean;
}

/** The opening of a connection: signature, version, mechanism. */
export function greeting(mechanism = "NULL", { major = 3, minor = 0, asServer = false }: Greeting = {}): Buffer {
  const bytes = Buffer.alloc(64);
  bytes[0] = 0xff;
  bytes[9] = 0x7f;
  bytes[10] = major;
  bytes[11] = minor;
  bytes.write(mechanism.slice(0, 20), 12, "latin1");
  bytes[32] = asServer ? 1 : 0;
  return bytes;
}

const MORE = 1;
const LONG = 2;
const COMMAND = 4;

/** The head of a frame that says it has `length` bytes. */
export function claim(flags: number, length: number | bigint): Buffer {
  if (length < 256) return Buffer.from([flags & ~LONG, Number(length)]);
  const head = Buffer.alloc(9);
  head[0] = flags | LONG;
  head.writeBigUInt64BE(BigInt(length), 1);
  return head;
}

const frame = (flags: number, body: Uint8Array): Buffer => Buffer.concat([claim(flags, body.length), body]);

export function command(name: string, body: Uint8Array = new Uint8Array(0)): Buffer {
  return frame(COMMAND, Buffer.concat([Buffer.from([name.length]), ascii(name), body]));
}

export function property(name: string, value: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(value.length);
  return Buffer.concat([Buffer.from([name.length]), ascii(name), length, value]);
}

/** What follows the greeting where there are no keys. */
export const ready: Buffer = command("READY", property("Socket-Type", ascii("DEALER")));

export function message(parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat(parts.map((part, i) => frame(i < parts.length - 1 ? MORE : 0, part)));
}

/** One message of so many frames of no bytes, in pieces. */
export function* tinyFrames(count: number): Generator<Buffer> {
  const PIECE = 50_000;
  const piece = Buffer.alloc(2 * PIECE);
  for (let i = 0; i < piece.length; i += 2) piece[i] = MORE;
  let left = count - 1;
  for (; left > PIECE; left -= PIECE) yield piece;
  yield piece.subarray(0, 2 * left);
  yield claim(0, 0);
}
