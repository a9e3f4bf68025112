/** Files whose place somebody else may have filled: a pipe that nobody writes to would hold a reader for ever, and a device has no end. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** Opening a pipe waits for whoever writes to it, but for this; of a file it changes nothing. Windows has no such pipes. */
const TO_READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

const NOT_A_FILE = "it is not a regular file";

/** What opening failed of, with the path. */
export function cannotRead(what: string, path: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === undefined ? `${path}: ${message}` : `cannot read ${what}${path}: ${message}`;
}

/** Opens a file to read. Throws what the system says, and an Error for a folder, a pipe, a socket or a device. */
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

/** The bytes of a small file. Throws as openRegularFile does, and an Error where it has more than `mostBytes` (default 1 MiB). */
export function readRegularFile(path: string, mostBytes: number = 2 ** 20): Buffer {
  const file = openSync(path, TO_READ);
  try {
    const about = fstatSync(file);
    if (!about.isFile()) throw new Error(NOT_A_FILE);
    if (about.size > mostBytes) throw new Error(`it has ${about.size} bytes; ${mostBytes} are possible`);
    // A file of /proc says that it has none. What comes while it is read is not for us.
    const bytes = Buffer.alloc(about.size > 0 ? about.size : mostBytes);
    let filled = 0;
    for (let n = -1; n !== 0 && filled < bytes.length; filled += n)
      n = readSync(file, bytes, filled, bytes.length - filled, filled);
    return bytes.subarray(0, filled);
  } finally {
    closeSync(file);
  }
}
