/** Cuts a data set that lies in the worker into batches. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import { workerOf } from "../../bridge/worker.ts";
import { numBatches } from "./batches.ts";
import { lending } from "./lent-batch.ts";
import { permutation } from "./shuffle.ts";
import type { BatchLike, Data } from "./types.ts";

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
export async function fromWorker(
  dataset: PyObject,
  { batchSize, shuffle = false, dropLast = false }: FromWorkerOptions,
): Promise<Data & { readonly length: number; readonly samples: number }> {
  const worker = workerOf(dataset);
  if (worker === undefined)
    throw new TorchwireError(
      "MISUSE",
      "fromWorker: the data set is not a reference; make it in the worker, e.g. with torchvision.datasets",
    );
  numBatches(0, batchSize);
  const samples = await py.len(dataset);
  const length = numBatches(samples, batchSize, dropLast);
  const seed = typeof shuffle === "object" ? shuffle.seed : 0;
  let pass = 0;
  return {
    length,
    samples,
    *[Symbol.iterator](): Generator<BatchLike> {
      const order =
        shuffle === false ? Uint32Array.from({ length: samples }, (_, i) => i) : permutation(samples, seed, pass);
      pass++;
      const helpers = worker.import("torchwire_worker.helpers.data");
      const collate: AnyRef = py.get(helpers, "collate");
      try {
        for (let start = 0; start < length * batchSize; start += batchSize)
          yield* lending(collate(dataset, [...order.subarray(start, start + batchSize)]));
      } finally {
        for (const one of [collate, helpers]) one[Symbol.dispose]();
      }
    },
  };
}
