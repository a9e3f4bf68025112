import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import { count, checkValue } from "../stopping/criteria.ts";
import { throttle } from "./throttle.ts";

/**
 * Collects the worker's garbage after the first step, and after every `n`-th from then on, and gives memory that is free back to the system where it
 * can (`malloc_trim`). In line, and waited for by nobody. `n` is a whole number from 1, default 100.
 */
export class GarbageCollect extends CallbackObject {
  constructor(n = 100) {
    checkValue("GarbageCollect", "n", count, n);
    let collect: AnyRef | undefined;
    const always = callback({
      name: "GarbageCollect",
      init: ({ worker }) => {
        collect = py.keep(worker.import("torchwire_worker.helpers.garbage").collect as AnyRef);
      },
      on: { stepEnd: () => void collect!() },
    });
    super(throttle(always, "stepEnd", { freq: n }));
  }
}
