import type { Worker } from "../../bridge/worker.ts";
import { DataLoader } from "./loader.ts";
import type { Data } from "./types.ts";

/** The batches of `data` for a worker: a loader that keeps its samples there gives references. */
export const onWorker = (data: Data, worker: Worker): Data => (data instanceof DataLoader ? data.on(worker) : data);
