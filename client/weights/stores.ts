/** Stores for checkpoints: the disk of this machine, or the worker's. */
import { AsyncLocalStorage } from "node:async_hooks";
import { access, constants, mkdir, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { loadWeights } from "./load.ts";
import { make, type Modules } from "./modules.ts";
import { saveWeights } from "./save.ts";

type Metadata = Readonly<Record<string, string>>;

export interface Store {
  /** Makes the folder, checks that it can be written to, and returns its absolute path. */
  prepare(worker: Worker, folder: string): Promise<string>;
  /**
   * Writes the weights as they are at this point of the program. It resolves once the whole file is on the disk under
   * its name.
   */
  write(worker: Worker, modules: Modules, path: string, metadata: Metadata): Promise<void>;
  remove(worker: Worker, path: string): Promise<void>;
  load(worker: Worker, modules: Modules, path: string): Promise<void>;
}

/** Outside of the caller's lane and context, since both may end before the work is done. */
const outside = AsyncLocalStorage.snapshot();

const apart = <T>(worker: Worker, what: () => Promise<T>): Promise<T> => outside(() => worker.lane(what));

const client: Store = {
  async prepare(_, folder) {
    const path = resolve(folder);
    try {
      await mkdir(path, { recursive: true });
      await access(path, constants.W_OK);
    } catch (cause) {
      throw notAFolder(path, (cause as Error).message, cause);
    }
    return path;
  },
  write: (worker, modules, path, metadata) => apart(worker, () => saveWeights(modules, path, { metadata })),
  remove: (_, path) => rm(path, { force: true }),
  load: async (_, modules, path) => void (await loadWeights(modules, path)),
};

/** How often to ask the worker whether it is done: a thread of its own writes there while it trains. */
const ASK_MS = 20;

const disk = (worker: Worker): AnyRef => worker.import("torchwire_worker.helpers.disk");

const worker: Store = {
  async prepare(its, folder) {
    try {
      return (await apart(its, () => its.scope(() => py.js(disk(its).prepare(folder))))) as string;
    } catch (cause) {
      throw notAFolder(`${folder} in the worker`, (cause as Error).message, cause);
    }
  },
  write: (its, modules, path, metadata) =>
    apart(its, async () => {
      const saving = make(its, "checkpoint", "Saving", modules, path, metadata);
      try {
        while (!(await its.scope(() => py.js(saving.is_done())))) await sleep(ASK_MS);
      } catch (cause) {
        const message = `cannot write ${path} in the worker: ${(cause as Error).message}`;
        throw new TorchwireError("NOT_SAVED", message, { cause });
      } finally {
        saving[Symbol.dispose]();
      }
    }),
  remove: (its, path) => apart(its, async () => void (await its.scope(() => py.js(disk(its).remove(path))))),
  load: (its, modules, path) =>
    its.scope(async () => void (await py.js(its.import("torchwire_worker.helpers.checkpoint").load(modules, path)))),
};

export const stores: { readonly client: Store; readonly worker: Store } = { client, worker };

const notAFolder = (path: string, why: string, cause: unknown): TorchwireError =>
  new TorchwireError("NOT_SAVED", `checkpoints cannot be written to ${path}: ${why}`, { cause });
