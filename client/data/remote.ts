/** Iterates data that lies in the worker, such as a torch.utils.data.DataLoader. */
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { workerOf } from "../../bridge/worker.ts";
import { lending } from "./lent-batch.ts";
import type { BatchLike, Data } from "./types.ts";

/** How many batches are fetched at a time. They take memory in the worker. */
const AHEAD = 4;

/**
 * Gives a new iterator each time. The worker makes the next batches while the loop works on the ones before, as far as
 * one process can. Only the answer to a request tells whether more batches come.
 */
export function overReference(data: AnyRef): Data {
  return {
    async *[Symbol.asyncIterator](): AsyncGenerator<BatchLike> {
      const worker = workerOf(data)!;
      const iterator = worker.scope(() => py.keep(worker.import("builtins").iter(data) as AnyRef));
      const pull = (): { chunk: AnyRef; length: Promise<unknown> } =>
        worker.scope(() => {
          const chunk = py.keep(worker.import("torchwire_worker.helpers").take(iterator, AHEAD) as AnyRef);
          return { chunk, length: py.js(worker.import("builtins").len(chunk) as AnyRef) };
        });
      try {
        let next = pull();
        for (;;) {
          const { chunk, length } = next;
          const found = (await length) as number;
          if (found === AHEAD) next = pull();
          for (let i = 0; i < found; i++) {
            const batch = py.at(chunk, i);
            if (i === found - 1) chunk[Symbol.dispose]();
            yield* lending(batch);
          }
          if (found === 0) chunk[Symbol.dispose]();
          if (found < AHEAD) return;
        }
      } finally {
        iterator[Symbol.dispose]();
      }
    },
  };
}
