/** A learner, as its phases and callbacks see it: it has what a step needs, and nothing that runs a fit. */
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import type { Picked } from "../data/picked.ts";
import type { BatchLike, Data, Inputs } from "../data/types.ts";
import type { State } from "./state.ts";
import type { Step } from "./events.ts";
import type { Format } from "../formats/index.ts";
import type { Hyper } from "../optim/hyper.ts";
import type { Loss } from "../losses/spec.ts";

/** Picks what losses and metrics see out of a model's output: `(yhat) => yhat.logits`. */
export type OutputFunction = (yhat: any) => Picked;

export interface LearnerData {
  readonly training?: Data | PyObject;
  readonly validation?: Data | PyObject;
}

/** Where tensors are made, and how gradients are made and used: PyTorchBackend. */
export interface Backend {
  readonly device: string;
  readonly accumulate: number;
  inputs(xs: Inputs): any;
  targets(ys: Inputs): any;
}

export interface Trainer {
  readonly worker: Worker;
  readonly loss: Loss;
  lossFn: (yhat: AnyRef, ys: any) => AnyRef;
  model: any;
  readonly modules: readonly AnyRef[];
  optimizer: any;
  readonly hyper: Hyper;
  data: LearnerData;
  readonly input: Format | undefined;
  readonly target: Format | undefined;
  readonly output: OutputFunction | undefined;
  step: Step | undefined;
  readonly state: State;
  readonly backend: Backend;
  readonly window: number;
  readonly callbacks: readonly { readonly name: string }[];
  /** Objects that checkpoints keep, by name: see `Learner.track`. */
  readonly tracked: ReadonlyMap<string, AnyRef>;
  runStep(
    phase: any,
    batch: BatchLike,
    body: (step: Step, handle: (event: any) => any) => Promise<unknown>,
  ): Promise<Step>;
  forward(xs: Inputs, ys: unknown): any;
  backward(loss: AnyRef): void;
  update(closure?: AnyRef): void;
}
