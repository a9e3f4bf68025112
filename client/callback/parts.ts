/** The parts of a learner that a callback's handlers see. They are always current. */
import type { Control, State } from "./access.ts";
import type { Step } from "../training/events.ts";
import type { Hyper } from "../optim/hyper.ts";
import type { Trainer, LearnerData } from "../training/trainer.ts";
import type { Phase } from "../training/phases.ts";
import type { Ending } from "../training/report.ts";

/** The position of the loop. It is the same object throughout, and the loop keeps it up to date. */
export interface Moment {
  event: string;
  phase: Phase;
  /** The number of the epoch, from 1. */
  epoch: number;
  /** The number of the step in its epoch, from 0. */
  index: number;
  batches: number | undefined;
  /** Training epochs that the fit was asked for. */
  epochs: number | undefined;
  ending: Ending | undefined;
  /** The samples of the step that is observed. */
  size: number | undefined;
  values: { [name: string]: unknown };
}

/** Has getters, because most parts change from event to event. */
export class LearnerParts {
  readonly control: Control;
  readonly #learner: Trainer;
  readonly #moment: Moment;

  constructor(learner: Trainer, moment: Moment, control: Control) {
    this.#learner = learner;
    this.#moment = moment;
    this.control = Object.freeze(control);
  }

  get model(): any {
    return this.#learner.model;
  }
  set model(model) {
    this.#learner.model = model;
  }

  get optimizer(): any {
    return this.#learner.optimizer;
  }
  set optimizer(optimizer) {
    this.#learner.optimizer = optimizer;
  }

  get hyper(): Hyper {
    return this.#learner.hyper;
  }

  get lossFn(): Trainer["lossFn"] {
    return this.#learner.lossFn;
  }
  set lossFn(lossFn) {
    this.#learner.lossFn = lossFn;
  }

  get data(): LearnerData {
    return this.#learner.data;
  }
  set data(data) {
    this.#learner.data = data;
  }

  get step(): Step | undefined {
    return this.#learner.step;
  }

  get state(): State {
    return this.#learner.state;
  }

  get event(): string {
    return this.#moment.event;
  }

  get phase(): Phase {
    return this.#moment.phase;
  }

  get epoch(): number {
    return this.#moment.epoch;
  }

  get index(): number {
    return this.#moment.index;
  }

  get batches(): number | undefined {
    return this.#moment.batches;
  }

  get epochs(): number | undefined {
    return this.#moment.epochs;
  }

  get ending(): Ending | undefined {
    return this.#moment.ending;
  }

  get size(): number | undefined {
    return this.#moment.size;
  }

  get values(): object {
    return this.#moment.values;
  }
}

export const PUBLIC_PARTS: ReadonlySet<string> = new Set([
  "event",
  "phase",
  "epoch",
  "index",
  "batches",
  "epochs",
  "ending",
  "size",
  "values",
]);
