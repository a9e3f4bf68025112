import { py } from "../../bridge/reference/py.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import { workerOf } from "../../bridge/worker.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { DataLoader } from "./loader.ts";
import { overReference } from "./remote.ts";
import type { BatchLike, Data } from "./types.ts";

/**
 * The same data, for a look at it that changes nothing. A loader keeps its position, and the copy starts at the
 * beginning of its epoch. Data in the worker comes in the order that its generator gives next, and the generator is
 * then put back.
 */
export function aside(data: Data | PyObject): Data {
  if (isReference(data)) return overReferenceAside(data);
  if (!(data instanceof DataLoader)) return data as Data;
  const copy = data.clone();
  copy.position = { ...copy.position, batch: 0 };
  return copy;
}

const overReferenceAside = (data: AnyRef): Data => ({
  async *[Symbol.asyncIterator](): AsyncGenerator<BatchLike> {
    const worker = workerOf(data)!;
    const helpers = (): AnyRef => worker.import("torchwire_worker.helpers.trial");
    const generators = worker.scope(() => py.keep(helpers().Generators(data) as AnyRef));
    try {
      yield* overReference(data) as AsyncIterable<BatchLike>;
    } finally {
      // A lane of its own: a failure above has closed the current one.
      await worker.lane(() => worker.scope(() => py.js(generators.restore())));
      generators[Symbol.dispose]();
    }
  },
});
