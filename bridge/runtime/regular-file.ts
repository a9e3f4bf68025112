/**
 * Reads only regular files. Somebody else may have put a pipe in a file's place, which would hold a reader for ever, or
 * a device, which has no end.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** Without O_NONBLOCK, opening a pipe waits for a writer. It changes nothing for a file. Windows has no such pipes. */
const TO_READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

const NOT_A_FILE = "it is not a regular file";

/** Says why a file could not be opened, with its path. */
export function cannotRead(what: string, path: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === undefined ? `${path}: ${message}` : `cannot read ${what}${path}: ${message}`;
}

/** Opens a file for reading. Throws the system's error, and an Error for a folder, a pipe, a socket or a device. */
export async function openRegularFile(path: string): Promise<FileHandle> {
  const handle = await open(path, TO_READ);
  try {
    if (!(await handle.stat()).isFile()) throw new Error(NOT_A_FILE);
  } catch (error) {
    await handle.close();
    throw error;
  }
  return handle;
}

/**
 * The bytes of a small file. Throws as openRegularFile does, and where the file has more than `mostBytes` (default 1
 * MiB).
 */
export function readRegularFile(path: string, mostBytes: number = 2 ** 20): Buffer {
  const file = openSync(path, TO_READ);
  try {
    const about = fstatSync(file);
    if (!about.isFile()) throw new Error(NOT_A_FILE);
    if (about.size > mostBytes) throw new Error(`it has ${about.size} bytes; ${mostBytes} are possible`);
    // A file of /proc claims to have no bytes. Bytes that are appended meanwhile are left out.
    const bytes = Buffer.alloc(about.size > 0 ? about.size : mostBytes);
    let filled = 0;
    for (let n = -1; n !== 0 && filled < bytes.length; filled += n)
      n = readSync(file, bytes, filled, bytes.length - filled, filled);
    return bytes.subarray(0, filled);
  } finally {
    closeSync(file);
  }
}
