/** The disk of this machine. The tensors travel. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, constants, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { byteLengthOf, type SafetensorsDType, type TensorInfo } from "../weights/header.ts";
import { send } from "../weights/load.ts";
import { make, pieceBytes } from "../weights/modules.ts";
import { openSafetensors, syncFolder, writeSafetensors } from "../weights/safetensors.ts";
import { fetched } from "../weights/save.ts";
import { notSaved, type Digest, type Disk } from "./disk.ts";

/** Makes the folder where it is missing. Throws NOT_SAVED where it cannot be written to. */
export async function openHere(worker: Worker, folder: string): Promise<Disk> {
  const path = resolve(folder);
  try {
    await mkdir(path, { recursive: true });
    await access(path, constants.W_OK);
  } catch (cause) {
    throw notSaved(path, cause);
  }
  const at = (name: string): string => join(path, name);
  return {
    path,
    where: path,
    pathOf: at,
    list: () => readdir(path),
    read: (name) => readFile(at(name), "utf8"),
    write: (name, text) => writeSynced(at(name), text),
    writeAnew: (name, text) => madeAnew(at(name), text),
    makeFolder: (name) => mkdir(at(name)),
    rename: (from, to) => rename(at(from), at(to)),
    remove: (name) => rm(at(name), { recursive: true, force: true }),
    sync: (name) => syncFolder(at(name)),
    digest: (name) => digestOf(at(name)),
    writeTensors: (name, copies) => writeCopies(worker, copies, at(name)),
    restoring: (model, rest) => restoring(worker, [at(model), at(rest)]),
  };
}

async function digestOf(path: string): Promise<Digest> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return { bytes: (await stat(path)).size, sha256: hash.digest("hex") };
}

async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function madeAnew(path: string, text: string): Promise<boolean> {
  try {
    await writeFile(path, text, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function writeCopies(worker: Worker, copies: AnyRef, path: string): Promise<Digest> {
  const { tensors, metadata } = (await worker.scope(() => py.js(copies.plan))) as {
    readonly tensors: readonly [name: string, dtype: SafetensorsDType, shape: number[]][];
    readonly metadata: Readonly<Record<string, string>>;
  };
  const infos = tensors.map(([name, dtype, shape]): TensorInfo => ({ name, dtype, shape }));
  const pieces = fetched(worker, copies, bytesIn(infos));
  // Hashed on the way: reading the file again would cost more than all the rest.
  const hash = createHash("sha256");
  const bytes = await writeSafetensors(path, infos, pieces, { format: "pt", ...metadata }, hash);
  return { bytes, sha256: hash.digest("hex") };
}

async function restoring(worker: Worker, paths: readonly string[]): Promise<AnyRef> {
  const files = await Promise.all(paths.map((path) => openSafetensors(path)));
  try {
    const [model, rest] = files.map(({ tensors }) => tensors.map(({ name, dtype, shape }) => [name, dtype, shape]));
    const [versions, tree] = [files[0]!.metadata["torchwire.versions"] ?? "", files[1]!.metadata["torchwire.tree"]!];
    const made = make(worker, "resuming", "Restoring", model, versions, rest, tree);
    try {
      for (const [i, part] of [made.model, made.rest].entries()) {
        const file = files[i]!;
        const target = worker.scope(() => py.keep(part as AnyRef));
        await send(worker, target, file.pieces(file.tensors, pieceBytes), bytesIn(file.tensors));
        target[Symbol.dispose]();
      }
    } catch (error) {
      made[Symbol.dispose]();
      throw error;
    }
    return made;
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}

const bytesIn = (infos: readonly TensorInfo[]): number => infos.reduce((sum, info) => sum + byteLengthOf(info), 0);
