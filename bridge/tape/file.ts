/**
 * The file of a tape: eight bytes, the length of a header, its hash, the header, and the parts that it lists, one after
 * another.
 * docs/crash-files.md describes it; python/torchwire_worker/replay/container.py reads it.
 */
import { createHash } from "node:crypto";
import { open, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { createReadStream } from "node:fs";
import { sizeOf, type Checkpoint, type Entry } from "./tape.ts";

export const TWR = { magic: "torchwir", format: 1 } as const;

/** Writes the file under a temporary name first. Rejects with what the file system says. */
export async function writeTape(
  path: string,
  about: Readonly<Record<string, unknown>>,
  entries: readonly Entry[],
  enclosed: Checkpoint["files"],
  withFrames: boolean,
): Promise<void> {
  const hash = createHash("sha256");
  let bytes = 0;
  for (const piece of piecesOf(entries, withFrames)) {
    hash.update(piece);
    bytes += piece.length;
  }
  const parts: { name: string; bytes: number; sha256: string }[] = [{ name: "log", bytes, sha256: hash.digest("hex") }];
  for (const { name, path: from, sha256 } of enclosed) parts.push({ name, bytes: (await stat(from)).size, sha256 });
  const header = Buffer.from(JSON.stringify({ format: TWR.format, ...about, parts }));
  const start = Buffer.alloc(48);
  start.write(TWR.magic, "latin1");
  start.writeBigUInt64LE(BigInt(header.length), 8);
  createHash("sha256").update(header).digest().copy(start, 16);
  const draft = `${path}.draft`;
  try {
    const file = await open(draft, "w", 0o600);
    try {
      await write(file, start);
      await write(file, header);
      for (const piece of piecesOf(entries, withFrames)) await write(file, piece);
      for (const { path: from } of enclosed)
        for await (const piece of createReadStream(from)) await write(file, piece as Uint8Array);
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

/** Each batch: the length of its first part, that part; then of each frame whether it is there, its length, its bytes. */
function* piecesOf(entries: readonly Entry[], withFrames: boolean): Generator<Uint8Array> {
  for (const { head, frames } of entries) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(head.length);
    yield length;
    yield head;
    for (const frame of frames) {
      const isThere = withFrames && typeof frame !== "number";
      const size = Buffer.alloc(9);
      size.writeUInt8(isThere ? 1 : 0);
      size.writeBigUInt64LE(BigInt(sizeOf(frame)), 1);
      yield size;
      if (isThere) yield frame;
    }
  }
}

async function write(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at)).bytesWritten;
}
