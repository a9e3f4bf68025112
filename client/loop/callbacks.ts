/** The callbacks of a learner: which they are, in which order they act, and which of them is its backend. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isRefusedPromise } from "../../bridge/reference/refused.ts";
import { PyTorchBackend } from "../backend/pytorch-backend.ts";
import type { Control } from "../callback/access.ts";
import { CallbackObject, type Callback, type CallbackClass } from "../callback/callback.ts";
import { isOf } from "../callback/graph.ts";
import { LearnerParts, type Moment } from "../callback/parts.ts";
import { Plan } from "../callback/plan.ts";
import type { Trainer } from "../training/trainer.ts";
import type { Preparations } from "./preparations.ts";

/** The loop that callbacks are in: its position, and ways to cancel it and to prepare for it. */
export interface Surroundings {
  readonly moment: Moment;
  readonly cancel: (what: Parameters<Control["cancel"]>[0], reason: string | undefined, by: string) => void;
  readonly preparations: Preparations;
}

/** Every change is all or nothing: where callbacks do not go together it throws, and those before stay. */
export class Callbacks {
  readonly #learner: Trainer;
  readonly #surroundings: Surroundings;
  #all: readonly Callback[] = [];
  #plan: Plan;

  constructor(learner: Trainer, surroundings: Surroundings) {
    this.#learner = learner;
    this.#surroundings = surroundings;
    this.#plan = this.#planned([]);
  }

  get all(): readonly Callback[] {
    return this.#all;
  }

  get plan(): Plan {
    return this.#plan;
  }

  get backend(): PyTorchBackend {
    return this.find(PyTorchBackend) as PyTorchBackend;
  }

  find(kind: string | CallbackClass): Callback | undefined {
    return this.#all.find((one) => isOf(one, kind));
  }

  add(callback: Callback): void {
    this.#become([...this.#all, callback], [callback]);
  }

  replace(callback: Callback): Callback | undefined {
    const ofClass = callback instanceof CallbackObject && this.find(callback.constructor as CallbackClass);
    const old = ofClass || this.find(callback.name);
    if (old === undefined) this.add(callback);
    else
      this.#become(
        this.#all.map((one) => (one === old ? callback : one)),
        [callback],
      );
    return old;
  }

  remove(kind: string | CallbackClass): Callback | undefined {
    const old = this.find(kind);
    if (old === undefined) return undefined;
    if (old === this.backend)
      throw new TorchwireError(
        "MISUSE",
        "PyTorchBackend cannot be removed, nothing works without it: replace it, learner.replaceCallback(new PyTorchBackend({ … }))",
      );
    this.#become(
      this.#all.filter((one) => one !== old),
      [],
    );
    return old;
  }

  /** Replaces all of them. The backend stays where none is given. */
  set(callbacks: readonly Callback[]): void {
    const all = callbacks.some((one) => one instanceof PyTorchBackend) ? callbacks : [...callbacks, this.backend];
    this.#become(
      all,
      all.filter((one) => !this.#all.includes(one)),
    );
  }

  /** Has the backend prepare the learner's model. */
  prepareModel(): void {
    this.#surroundings.preparations.prepare(() => this.backend.prepare(this.#learner));
  }

  /** A fit that is under way goes on with the callbacks that it has. */
  #become(callbacks: readonly Callback[], added: readonly Callback[]): void {
    const before = [this.#all, this.#plan] as const;
    this.#all = callbacks;
    try {
      this.#plan = this.#planned(callbacks);
      // The backend comes first: the others may look at the model on its device.
      if (added.includes(this.backend)) this.prepareModel();
      for (const one of added) this.#init(one);
    } catch (error) {
      [this.#all, this.#plan] = before;
      throw error;
    }
  }

  #init({ init }: Callback): void {
    const result: unknown = this.#surroundings.preparations.prepare(() => init?.(this.#learner));
    if (isRefusedPromise(result))
      throw new TorchwireError(
        "MISUSE",
        "the init of a callback gave a Promise: it must not be async, as nothing waits for it",
      );
  }

  #planned(callbacks: readonly Callback[]): Plan {
    const { moment, cancel } = this.#surroundings;
    return new Plan(callbacks, ({ name }) => {
      const control: Control = { cancel: (what, reason) => cancel(what, reason, name) };
      return new LearnerParts(this.#learner, moment, control);
    });
  }
}
