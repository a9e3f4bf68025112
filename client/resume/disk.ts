/** A disk with the folder of a run: this machine's, or the worker's. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { messageOf } from "../../bridge/runtime/kinds.ts";
import type { AnyRef } from "../../bridge/types/core.ts";

/** What a file has, as a manifest says it. */
export interface Digest {
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Names are those in the folder, with "/" between their parts. An operation that the system refuses rejects with the
 * system's reason.
 */
export interface Disk {
  /** The folder's absolute path. */
  readonly path: string;
  /** The folder in an error. */
  readonly where: string;
  /** The path of a name, for people. */
  pathOf(name: string): string;
  list(): Promise<readonly string[]>;
  read(name: string): Promise<string>;
  /** Writes a text. It is on the disk when this resolves. */
  write(name: string, text: string): Promise<void>;
  /** Writes a text to a file that must not be there. Resolves to false where another program was faster. */
  writeAnew(name: string, text: string): Promise<boolean>;
  makeFolder(name: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a folder with all that is in it, if it is there. */
  remove(name: string): Promise<void>;
  /** Makes the names in a folder survive a power cut, where the system can. */
  sync(name: string): Promise<void>;
  digest(name: string): Promise<Digest>;
  /** Writes the tensors of a `Copies` of the worker to a safetensors file, which is on the disk when this resolves. */
  writeTensors(name: string, copies: AnyRef): Promise<Digest>;
  /** Makes a `Restoring` in the worker, with the bytes of both files of a `Point`. Its owner must dispose it. */
  restoring(model: string, rest: string): Promise<AnyRef>;
}

export const notSaved = (where: string, cause: unknown): TorchwireError =>
  new TorchwireError("NOT_SAVED", `a checkpoint cannot be written to ${where}: ${messageOf(cause)}`, { cause });
