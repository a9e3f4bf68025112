import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { CallbackObject, type Handlers, type KeptState } from "../callback/callback.ts";
import { watches, type PythonForm } from "../callback/python-form.ts";
import { every, type Every } from "../logging/every.ts";
import { wholeFrom } from "../options/kinds.ts";
import { checkValue } from "../stopping/criteria.ts";
import type { Trainer } from "../training/trainer.ts";

/**
 * Collects the worker's garbage after the first step, and after every `n`-th from then on, and gives free memory back
 * to the system where that is possible (`malloc_trim`). It is in line, and nothing waits for it. `n` is a whole number
 * from 1, default 100.
 */
export class GarbageCollect extends CallbackObject {
  override readonly name = "GarbageCollect";
  override readonly state: KeptState;
  readonly #isDue: Every;
  #collect!: AnyRef;

  constructor(n = 100) {
    super();
    checkValue("GarbageCollect", "n", wholeFrom(1), n);
    this.#isDue = every("GarbageCollect", n);
    this.state = this.#isDue.state;
  }

  override readonly init = ({ worker }: Trainer): void => {
    this.#collect = py.keep(worker.import("torchwire_worker.helpers.garbage").collect as AnyRef);
  };

  readonly pythonForm: () => PythonForm = watches;
  override readonly on: Handlers<{}> = {
    stepEnd: () => {
      if (this.#isDue()) this.#collect();
    },
  };
}
