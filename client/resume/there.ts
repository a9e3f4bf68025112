/** The disk of the worker's machine. The tensors do not travel: the worker writes and reads them itself. */
import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { NDArray } from "../../bridge/values/ndarray.ts";
import type { Worker } from "../../bridge/worker.ts";
import { make } from "../weights/modules.ts";
import { notSaved, type Digest, type Disk } from "./disk.ts";

/** How long to wait before the worker is asked once more whether it is done, at most: it trains meanwhile. */
const ASK_MS = 32;

/** Outside of the caller's lane and context: what the system refuses must not end a fit. */
const outside = AsyncLocalStorage.snapshot();

/**
 * `folder` is relative to the worker's current folder; "~" is its user's home. It is made where it is missing. Throws
 * NOT_SAVED where it cannot be written to.
 */
export async function openThere(worker: Worker, folder: string): Promise<Disk> {
  const done = (what: string, ...args: unknown[]): Promise<void> =>
    run(worker, (disk) => disk.Job(py.get(disk, what), ...args));
  const given = <T>(what: string, ...args: unknown[]): Promise<T> =>
    run(worker, (disk) => disk.Job(py.get(disk, what), ...args), valueOf<T>);
  const path = await given<string>("prepare", folder).catch((cause: unknown) => {
    throw cause instanceof Refused ? notSaved(`${folder} in the worker`, cause) : cause;
  });
  const at = (name: string): string => `${path}/${name}`;
  return {
    path,
    where: `${path} in the worker`,
    pathOf: at,
    list: () => given("names_in", path),
    read: (name) => run(worker, (disk) => disk.Job(disk.read, at(name)), textOf),
    write: (name, text) => run(worker, (disk) => disk.Job(disk.write, at(name), disk.raw(arrayOf(text)))),
    writeAnew: (name, text) => given("write_anew", at(name), text),
    makeFolder: (name) => done("make_folder", at(name)),
    rename: (from, to) => done("rename", at(from), at(to)),
    remove: (name) => done("remove", at(name)),
    sync: (name) => done("sync_folder", at(name)),
    digest: (name) => given("digest", at(name)),
    writeTensors: (name, copies) =>
      run(worker, (disk) => disk.Job(disk.write_tensors, at(name), disk.bytes_of(copies)), valueOf<Digest>),
    restoring: async (model, rest) => make(worker, "resuming", "read", at(model), at(rest)),
  };
}

/** The system's reason. */
class Refused extends Error {
  override name = "Refused";
}

/** Waits for a job that `begin` makes: a thread of the worker's runs it. Returns what `result` takes from it. */
function run<T = void>(
  worker: Worker,
  begin: (disk: AnyRef) => AnyRef,
  result?: (job: AnyRef, disk: AnyRef) => Promise<T>,
): Promise<T> {
  return outside(() =>
    worker.lane(async () => {
      const disk: AnyRef = worker.import("torchwire_worker.helpers.disk");
      const job = worker.scope(() => py.keep(begin(disk)));
      try {
        for (let wait = 1; ; wait = Math.min(2 * wait, ASK_MS)) {
          const outcome = (await worker.scope(() => py.js(job.outcome()))) as true | string | null;
          if (typeof outcome === "string") throw new Refused(outcome);
          if (outcome !== null) return (await worker.scope(() => result?.(job, disk))) as T;
          await sleep(wait);
        }
      } finally {
        job[Symbol.dispose]();
      }
    }),
  );
}

const valueOf = <T>(job: AnyRef): Promise<T> => py.js(job.value as AnyRef) as Promise<T>;

/** A manifest is larger than the wire's texts may be where the run is long. */
const arrayOf = (text: string): NDArray => {
  const data = new Uint8Array(Buffer.from(text));
  return { dtype: "uint8", shape: [data.length], data };
};

const textOf = async (job: AnyRef, disk: AnyRef): Promise<string> =>
  Buffer.from((await py.ndarray(disk.array_of(job.value))).data as Uint8Array).toString();
