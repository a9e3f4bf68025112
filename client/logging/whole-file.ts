import { renameSync, rmSync } from "node:fs";
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { TorchwireError } from "../../bridge/errors/errors.ts";

/**
 * Writes a file as a whole or not at all: `write` makes it under another name, and it gets its own name when it is
 * done. If that fails, as on a full disk, the old file stays as it was, and nothing is left beside it. Throws
 * NOT_SAVED.
 */
export function writeWhole(path: string, write: (draft: string) => void): void {
  const draft = `${path}.tmp`;
  try {
    try {
      write(draft);
      renameSync(draft, path);
    } catch (error) {
      rmSync(draft, { force: true });
      throw error;
    }
  } catch (cause) {
    throw new TorchwireError("NOT_SAVED", `${path} cannot be written: ${messageOf(cause)}`, { cause });
  }
}
