/** Cuts a data set that lies in the worker into batches. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import { workerOf, type Worker } from "../../bridge/worker.ts";
import { numBatches } from "./batches.ts";
import { lending } from "./lent-batch.ts";
import { Passes, type Position } from "./position.ts";
import { permutation } from "./shuffle.ts";
import type { BatchLike } from "./types.ts";

export interface FromWorkerOptions {
  /** Samples in a batch. */
  readonly batchSize: number;
  /** A new order in each pass: `permutation(samples, seed, pass)`, as in DataLoader. Default: false. */
  readonly shuffle?: boolean | { readonly seed: number };
  /** Leaves out a last batch with fewer than `batchSize` samples. Default: false. */
  readonly dropLast?: boolean;
}

/**
 * Data for a learner over a map-style data set of torchvision or torch.utils.data, `dataset[i]` and `len(dataset)`:
 *
 *     const digits = torchvision.datasets.MNIST("data", kw({ transform: torchvision.transforms.ToTensor() }));
 *     const training = await fromWorker(digits, { batchSize: 64, shuffle: true });
 *
 * The worker reads the samples in the process that trains; none of them comes here. A torch.utils.data.DataLoader does
 * not need this function: it is data by itself.
 *
 * Throws MISUSE where `dataset` is not a reference, or an option is out of range.
 */
export async function fromWorker(dataset: PyObject, options: FromWorkerOptions): Promise<WorkerBatches> {
  const worker = workerOf(dataset);
  if (worker === undefined)
    throw new TorchwireError(
      "MISUSE",
      "fromWorker: the data set is not a reference; make it in the worker, e.g. with torchvision.datasets",
    );
  numBatches(0, options.batchSize);
  return new WorkerBatches(worker, dataset, await py.len(dataset), options);
}

/** The batches of `fromWorker`. Each iteration is one pass, and begins the next epoch. */
export class WorkerBatches implements Iterable<BatchLike> {
  /** The number of batches in one pass. */
  readonly length: number;
  readonly samples: number;
  readonly batchSize: number;
  readonly order: "permutation" | "rows";
  readonly #worker: Worker;
  readonly #dataset: PyObject;
  readonly #passes: Passes;

  constructor(
    worker: Worker,
    dataset: PyObject,
    samples: number,
    { batchSize, shuffle = false, dropLast = false }: FromWorkerOptions,
  ) {
    this.#worker = worker;
    this.#dataset = dataset;
    this.samples = samples;
    this.batchSize = batchSize;
    this.length = numBatches(samples, batchSize, dropLast);
    this.order = shuffle === false ? "rows" : "permutation";
    this.#passes = new Passes(typeof shuffle === "object" ? shuffle.seed : 0);
  }

  /** The next batch of the pass that began last, as in DataLoader. */
  get position(): Position {
    return this.#passes.position;
  }

  set position(position: Position) {
    this.#passes.goTo(position, this.length);
  }

  /** How it begins its next pass. */
  get plan(): { readonly epoch: number; readonly isMidway: boolean } {
    const { epoch, batch } = this.#passes.next;
    return { epoch, isMidway: batch > 0 };
  }

  *[Symbol.iterator](): Generator<BatchLike> {
    const { samples, length, batchSize } = this;
    const pass = this.#passes.begin();
    const order =
      this.order === "rows"
        ? Uint32Array.from({ length: samples }, (_, i) => i)
        : permutation(samples, pass.seed, pass.epoch);
    const helpers = this.#worker.import("torchwire_worker.helpers.data");
    const collate: AnyRef = py.get(helpers, "collate");
    try {
      while (pass.batch < length) {
        const start = pass.batch++ * batchSize;
        yield* lending(collate(this.#dataset, [...order.subarray(start, start + batchSize)]));
      }
    } finally {
      for (const one of [collate, helpers]) one[Symbol.dispose]();
    }
    this.#passes.end(pass);
  }
}
