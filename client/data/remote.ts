/** Data that lies in the worker, such as a torch.utils.data.DataLoader: iterated from here. */
import { py } from "../../bridge/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { workerOf } from "../../bridge/worker.ts";
import type { BatchLike, Data } from "./types.ts";

/** Batches fetched ahead in one go: they take memory there. */
const AHEAD = 4;

/**
 * A new iterator each time. The next batches are made while the loop works on those before, as far as one process can; whether more come is
 * known when that answer is in.
 */
export function overReference(data: AnyRef): Data {
  return {
    async *[Symbol.asyncIterator](): AsyncGenerator<BatchLike> {
      const worker = workerOf(data)!;
      const builtins = worker.import("builtins");
      const take = worker.import("torchwire_worker.helpers").take as AnyRef;
      const iterator = builtins.iter(data) as AnyRef;
      const pull = (): { chunk: AnyRef; length: Promise<number> } => {
        const chunk = take(iterator, AHEAD);
        return { chunk, length: py.js(builtins.len(chunk) as AnyRef) as Promise<number> };
      };
      let next = pull();
      for (;;) {
        const { chunk } = next;
        const length = await next.length;
        if (length === AHEAD) next = pull();
        for (let i = 0; i < length; i++) {
          const batch = py.at(chunk, i);
          if (i === length - 1) chunk[Symbol.dispose]();
          yield batch;
          batch[Symbol.dispose]();
        }
        if (length < AHEAD) return;
      }
    },
  };
}
