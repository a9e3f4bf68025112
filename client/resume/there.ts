/** The disk of the worker's machine. The tensors do not travel: the worker writes and reads them itself. */
import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { make } from "../weights/modules.ts";
import { notSaved, type Digest, type Disk } from "./disk.ts";

/** How long to wait before the worker is asked once more whether it is done, at most: it trains meanwhile. */
const ASK_MS = 32;

/** Outside of the caller's lane and context: what the system refuses must not end a fit. */
const outside = AsyncLocalStorage.snapshot();

interface Outcome {
  readonly value?: unknown;
  readonly refused?: string;
}

/**
 * `folder` is relative to the worker's current folder; "~" is its user's home. It is made where it is missing. Throws
 * NOT_SAVED where it cannot be written to.
 */
export async function openThere(worker: Worker, folder: string): Promise<Disk> {
  const job = (what: string, ...args: unknown[]): Promise<unknown> =>
    run(worker, (disk) => disk.Job(py.get(disk, what), ...args));
  const path = (await job("prepare", folder).catch((cause: unknown) => {
    throw cause instanceof Refused ? notSaved(`${folder} in the worker`, cause) : cause;
  })) as string;
  const at = (name: string): string => `${path}/${name}`;
  return {
    path,
    where: `${path} in the worker`,
    pathOf: at,
    list: () => job("names_in", path) as Promise<readonly string[]>,
    read: (name) => job("read", at(name)) as Promise<string>,
    write: async (name, text) => void (await job("write", at(name), text)),
    writeAnew: (name, text) => job("write_anew", at(name), text) as Promise<boolean>,
    makeFolder: async (name) => void (await job("make_folder", at(name))),
    rename: async (from, to) => void (await job("rename", at(from), at(to))),
    remove: async (name) => void (await job("remove", at(name))),
    sync: async (name) => void (await job("sync_folder", at(name))),
    digest: (name) => job("digest", at(name)) as Promise<Digest>,
    writeTensors: (name, copies) =>
      run(worker, (disk) => disk.Job(disk.write_tensors, at(name), disk.bytes_of(copies))) as Promise<Digest>,
    restoring: async (model, rest) => make(worker, "resuming", "read", at(model), at(rest)),
  };
}

/** The system's reason. */
class Refused extends Error {
  override name = "Refused";
}

/** Waits for a job that `begin` makes: a thread of the worker's runs it. */
function run(worker: Worker, begin: (disk: AnyRef) => AnyRef): Promise<unknown> {
  return outside(() =>
    worker.lane(async () => {
      const job = worker.scope(() => py.keep(begin(worker.import("torchwire_worker.helpers.disk"))));
      try {
        for (let wait = 1; ; wait = Math.min(2 * wait, ASK_MS)) {
          const outcome = (await worker.scope(() => py.js(job.outcome()))) as Outcome | null;
          if (outcome?.refused !== undefined) throw new Refused(outcome.refused);
          if (outcome !== null) return outcome.value;
          await sleep(wait);
        }
      } finally {
        job[Symbol.dispose]();
      }
    }),
  );
}
