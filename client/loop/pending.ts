/** A step on its way to the worker and back. */
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { ask } from "../callback/measured.ts";
import type { Step } from "../training/events.ts";
import type { Trainer } from "../training/trainer.ts";
import { CallbackError, stepFailure } from "./failures.ts";
import type { PlaceInData } from "./place.ts";
import { counted, type CountedLoss, type LossParts, type WeighedLoss } from "../losses/weight.ts";
import type { Participant } from "../callback/plan.ts";

interface Values {
  [name: string]: unknown;
}

/** A step that has come back. */
export interface Arrived {
  readonly index: number;
  readonly size: number;
  /** The loss; undefined where the step has none, and where its batch weighs nothing. */
  readonly loss: number | undefined;
  /** Its part of the mean over an epoch. */
  readonly weighed: WeighedLoss | undefined;
  /** Its parts by name, where the model computes it. */
  readonly parts: LossParts | undefined;
  /** The values that each participant measured. */
  readonly measured: ReadonlyMap<Participant, Values>;
}

export class Pending {
  readonly #place: PlaceInData;
  readonly #index: number;
  readonly #size: number | Promise<unknown>;
  readonly #loss: (() => CountedLoss | Promise<CountedLoss>) | undefined;
  /** Resolves when the worker has run a step without a loss. */
  readonly #done: Promise<unknown> | undefined;
  readonly #measured = new Map<Participant, () => Values | Promise<Values>>();

  /** Asks for the values that observers want of `step`. They travel with it, and nothing waits for them. */
  constructor(step: Step, place: PlaceInData, learner: Trainer, measuring: readonly Participant[]) {
    const { worker } = learner;
    const { loss, index, size } = step as Partial<Step> & Step;
    for (const one of measuring)
      try {
        this.#measured.set(one, ask(one.measure!(one.view)));
      } catch (error) {
        throw new CallbackError(one.callback.name, "measure", place, error);
      }
    this.#place = place;
    this.#index = index;
    this.#size = size ?? py.js(worker.import("builtins").len(firstOf(step.ys) as AnyRef));
    this.#loss = loss === undefined ? undefined : counted(step, learner);
    this.#done = loss === undefined ? py.js(worker.import("builtins").bool()) : undefined;
  }

  /** Waits for the worker's answer. Rejects with the failure and its place. */
  async arrival(): Promise<Arrived> {
    try {
      // Each await has its price, and most steps come back with others: their values are here.
      const asked = this.#loss?.();
      const counts = asked instanceof Promise ? await asked : asked;
      if (this.#done !== undefined) await this.#done;
      const size = typeof this.#size === "number" ? this.#size : ((await this.#size) as number);
      const measured = new Map<Participant, Values>();
      for (const [one, ask] of this.#measured) {
        const values = ask();
        measured.set(one, values instanceof Promise ? await values : values);
      }
      return { index: this.#index, size, ...lossOf(counts, size), measured };
    } catch (error) {
      throw stepFailure(error, this.#place);
    }
  }
}

/** A batch without a target that counts has no loss: PyTorch computes 0 / 0 then. */
function lossOf(counts: CountedLoss | undefined, size: number): Pick<Arrived, "loss" | "weighed" | "parts"> {
  if (counts?.loss === undefined) return { loss: undefined, weighed: undefined, parts: undefined };
  const { loss, weight = size, total = loss * size, parts } = counts;
  return weight === 0
    ? { loss: undefined, weighed: { total: 0, weight }, parts: undefined }
    : { loss, weighed: { total, weight }, parts };
}

function firstOf(ys: unknown): unknown {
  if (Array.isArray(ys)) return ys[0];
  return typeof ys === "object" && ys !== null ? Object.values(ys)[0] : ys;
}
