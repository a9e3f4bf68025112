/** The learner: a model, what it learns from, and a loop that others can join. */
import { TorchwireError } from "../bridge/errors/errors.ts";
import type { NDArray } from "../bridge/values/ndarray.ts";
import { py } from "../bridge/reference/py.ts";
import { isRefusedPromise, lookAfter } from "../bridge/reference/refused.ts";
import { deep, traced } from "../bridge/errors/site.ts";
import type { AnyRef, PyObject } from "../bridge/types/core.ts";
import { workerOf, type Worker } from "../bridge/worker.ts";
import type { Control, State } from "./callback/access.ts";
import { CallbackObject, type Callback, type CallbackClass } from "./callback/callback.ts";
import { isOf } from "./callback/graph.ts";
import { withDefaults } from "./callbacks/defaults.ts";
import { PyTorchBackend } from "./callbacks/pytorch-backend.ts";
import { aside } from "./data/aside.ts";
import { isReference } from "./data/batch.ts";
import { DataLoader } from "./data/loader.ts";
import { overReference } from "./data/remote.ts";
import type { BatchLike, Data } from "./data/types.ts";
import { EventStream } from "./loop/events-stream.ts";
import type { Step, TrainEvent } from "./training/events.ts";
import type { Format } from "./formats/index.ts";
import { Hyper } from "./optim/hyper.ts";
import { described } from "./options/keywords.ts";
import { failureBefore, Loop } from "./loop/loop.ts";
import { toLoss, type Loss } from "./losses/spec.ts";
import { given } from "./losses/weight.ts";
import { toOptimizer, type OptimizerOption } from "./optim/spec.ts";
import { adam } from "./optim/table.ts";
import { TrainingPhase, ValidationAlone, ValidationPhase, type Phase } from "./training/phases.ts";
import {
  classify,
  outputs,
  type ClassifyOptions,
  type Outputs,
  type Prediction,
  type PredictOptions,
  type Samples,
} from "./model/predict.ts";
import { LearnerParts } from "./callback/parts.ts";
import { Plan } from "./loop/plan.ts";
import type { Report } from "./training/report.ts";
import type { Backend, LearnerData, Trainer } from "./training/trainer.ts";
export type { LearnerData } from "./training/trainer.ts";
import { summary, type ModelSummary, type SummaryOptions } from "./model/summary.ts";
import { loadWeights, type LoadedWeights, type LoadWeightsOptions } from "./weights/load.ts";
import { saveWeights, type SaveWeightsOptions } from "./weights/save.ts";
import type { Run, StepBody } from "./loop/run.ts";

export interface LearnerOptions {
  readonly data?: LearnerData;
  /** How the inputs lie in JavaScript's memory. Default: uint8 images are `image()`, floats with four axes must be told, all else is `same`. */
  readonly input?: Format;
  /** The same of the targets. Default `same`. */
  readonly target?: Format;
  /** Default `adam()`. With several models, one for each, by the same names. */
  readonly optimizer?: OptimizerOption | { readonly [name: string]: OptimizerOption };
  /** In addition to the default ones, of which one given here takes the place. */
  readonly callbacks?: readonly Callback[];
  /** PyTorchBackend, ProgressPrinter, MetricsPrinter, StopOnNaNLoss, Recorder and Metrics. With false, PyTorchBackend alone. Default true. */
  readonly defaultCallbacks?: boolean;
  /** Steps in flight. Default 3. It is 1 where a callback waits in line (see `explain`). */
  readonly window?: number;
}

export interface FitOptions {
  /** In place of the learner's own. */
  readonly data?: LearnerData;
  /** In place of TrainingPhase and ValidationPhase. */
  readonly phases?: { readonly training?: Phase; readonly validation?: Phase };
  /** Ends the fit between two steps: what is in flight is waited for, and the report says "interrupted". */
  readonly signal?: AbortSignal;
}

/** `M` is a reference to a model, or a record of several, for phases of one's own. */
export class Learner<M = any> implements Trainer {
  readonly worker: Worker;
  /** What the learner was given as its loss. */
  readonly loss: Loss;
  /** A PyTorch optimizer; with several models a record of them. */
  optimizer: any;
  /** Its hyperparameters, to read and to set: `learner.hyper.set("lr", 1e-4)`. */
  readonly hyper: Hyper = new Hyper(this);
  data: LearnerData;
  readonly input: Format | undefined;
  readonly target: Format | undefined;
  /** Of the step that is being issued. */
  step: Step | undefined;
  /** What callbacks leave for others: history, metrics. */
  readonly state: State = {} as State;
  readonly #optimizerLike: LearnerOptions["optimizer"];
  readonly #requestedWindow: number;
  readonly #stream = new EventStream();
  readonly #loop: Loop;
  #model: M;
  #lossFn!: (yhat: AnyRef, ys: any) => AnyRef;
  #callbacks: readonly Callback[] = [];
  #plan: Plan;
  #saidNoValidation = false;
  /** What became of what was queued when it was made, and of its optimizer, which predictions do without. */
  readonly #made: (() => Promise<void> | undefined)[] = [];
  #optimizerMade: () => Promise<void> | undefined = () => undefined;

  /**
   * @throws MISUSE where the callbacks do not go together, or `model` is no reference.
   */
  constructor(model: M, loss: Loss, options: LearnerOptions = {}) {
    const { data = {}, input, target, optimizer, callbacks = [], defaultCallbacks = true, window = 3 } = options;
    const worker = workerOf(modulesOf(model)[0]);
    if (worker === undefined) {
      lookAfter(model);
      throw new TorchwireError(
        "MISUSE",
        "new Learner(model, …): model is not a reference to a module, nor a record of some",
      );
    }
    for (const [name, one] of isReference(model) ? [] : Object.entries(model as object))
      if (workerOf(one) !== worker)
        throw new TorchwireError(
          "MISUSE",
          `new Learner(model, …): the model "${name}" is ${described(one)}, and no reference to a module of this worker`,
        );
    if (!Number.isSafeInteger(window) || window < 1)
      throw new TorchwireError("MISUSE", `window must be a whole number from 1, not ${String(window)}`);
    this.worker = worker;
    this.#model = model;
    this.data = data;
    this.input = input;
    this.target = target;
    this.#optimizerLike = optimizer;
    this.#requestedWindow = window;
    this.loss = loss;
    this.lossFn = this.#apart(() => toLoss(worker, loss));
    this.#loop = new Loop(this, new TrainingPhase(), this.#stream);
    this.#callbacks = withDefaults(callbacks, defaultCallbacks);
    this.#plan = this.#planned();
    // The model is where it will be before others look at it.
    for (const { init } of this.#callbacks.toSorted((a, b) => Number(isBackend(b)) - Number(isBackend(a))))
      this.#init(init);
    this.#makeOptimizer();
  }

  get model(): M {
    return this.#model;
  }

  /** Another model gets a fresh optimizer. */
  set model(model: M) {
    this.#model = model;
    this.#init(this.getCallback(PyTorchBackend)?.init);
    this.#makeOptimizer();
  }

  /** What it makes of outputs and targets: a reference to a tensor. */
  get lossFn(): (yhat: AnyRef, ys: any) => AnyRef {
    return this.#lossFn;
  }

  set lossFn(fn: (yhat: AnyRef, ys: any) => AnyRef) {
    this.#lossFn = (yhat, ys) => given(this.step, fn(yhat, ys));
  }

  /** The model, or the models. */
  get modules(): readonly AnyRef[] {
    return modulesOf(this.#model);
  }

  get callbacks(): readonly Callback[] {
    return this.#callbacks;
  }

  /** Adds a callback, which is then told of this learner. */
  addCallback(callback: Callback): void {
    this.#become([...this.#callbacks, callback], [callback]);
  }

  /** The first callback of this class, or of this name; or undefined. */
  getCallback(kind: string): Callback | undefined;
  getCallback<T extends Callback>(kind: abstract new (...args: any[]) => T): T | undefined;
  getCallback(kind: string | CallbackClass): Callback | undefined {
    return this.#callbacks.find((one) => isOf(one, kind));
  }

  /** Puts `callback` in the place of the first one of its class, or else of its name, which is returned; adds it where there is none. */
  replaceCallback(callback: Callback): Callback | undefined {
    const ofClass = callback instanceof CallbackObject && this.getCallback(callback.constructor as CallbackClass);
    const old = ofClass || this.getCallback(callback.name);
    this.#become(
      old === undefined ? [...this.#callbacks, callback] : this.#callbacks.map((one) => (one === old ? callback : one)),
      [callback],
    );
    return old;
  }

  /** Removes the first callback of this class, or of this name, and returns it; undefined where there is none. */
  removeCallback(kind: string): Callback | undefined;
  removeCallback<T extends Callback>(kind: abstract new (...args: any[]) => T): T | undefined;
  removeCallback(kind: string | CallbackClass): Callback | undefined {
    const old = this.#callbacks.find((one) => isOf(one, kind));
    if (old instanceof PyTorchBackend)
      throw new TorchwireError(
        "MISUSE",
        "PyTorchBackend cannot be removed, nothing works without it: replace it, learner.replaceCallback(new PyTorchBackend({ … }))",
      );
    if (old !== undefined)
      this.#become(
        this.#callbacks.filter((one) => one !== old),
        [],
      );
    return old;
  }

  /** These callbacks and no others, but for PyTorchBackend, without which nothing works. Those that are new are told of this learner. */
  setCallbacks(callbacks: readonly Callback[]): void {
    const all = withDefaults(callbacks, false, this.getCallback(PyTorchBackend));
    this.#become(
      all,
      all.filter((one) => !this.#callbacks.includes(one)),
    );
  }

  /** Events with the callbacks at each, in their order, and how many steps are in flight and why. */
  explain(): string {
    return this.#plan.explain(this.window);
  }

  /**
   * `epochs` times a training epoch and a validation epoch. Where a callback stops it, or `signal` or Ctrl-C interrupts it, the report says so;
   * it rejects where something failed.
   */
  async fit(epochs: number, options: FitOptions = {}): Promise<Report> {
    if (!Number.isSafeInteger(epochs) || epochs < 0)
      throw new TorchwireError("MISUSE", `fit: epochs must be a whole number, not ${String(epochs)}`);
    const training = options.phases?.training ?? new TrainingPhase();
    const validation = options.phases?.validation ?? new ValidationPhase();
    const { training: trainingData, validation: validationData } = { ...this.data, ...options.data };
    if (trainingData === undefined)
      throw new TorchwireError("MISUSE", "fit: there is no training data: give the learner data: { training: … }");
    const data = {
      training: iterableAgain(trainingData, "training"),
      validation: validationData && iterableAgain(validationData, "validation"),
    };
    if (data.validation === undefined && !this.#saidNoValidation) {
      this.#saidNoValidation = true;
      process.emitWarning("there is no validation data: fit runs training epochs only", { type: "TorchwireWarning" });
    }
    // Awaited only where there is something to wait for.
    if (epochs > 0 && isReference(validationData))
      refuseEmpty(validationData as PyObject, await lengthOf(validationData as PyObject));
    else if (epochs > 0 && validationData !== undefined) refuseEmpty(validationData, (validationData as Data).length);

    const loop = this.#loop;
    const before = loop.steps;
    let done = 0;
    const how = { epochs, signal: options.signal, ready: () => this.#ready("fit", true) };
    const ending = await loop.fit(this.#plan, this.window, how, async (run) => {
      loop.moment.phase = training;
      this.#stream.emit({ type: "fitBegin", epochs, time: Date.now() });
      await run.barrier("fitBegin");
      for (let i = 0; i < epochs; i++) {
        try {
          await this.#epoch(run, training, data.training);
        } finally {
          // A fit that is cancelled at "epochEnd" has done that epoch.
          if (!run.isInEpoch) done++;
        }
        if (data.validation !== undefined) await this.#epoch(run, validation, data.validation);
      }
    });
    const { history = {}, metricsEpoch = {} } = this.state as Partial<State>;
    return { ...ending, epochs: done, steps: loop.steps - before, history: metricsEpoch, phases: history };
  }

  /** One epoch of `phase`, over `data` or the learner's own. A callback that stops it makes it reject with CancelFitting. */
  async epoch(phase: Phase, data: Data | PyObject | undefined = this.data[phase.data]): Promise<void> {
    if (data === undefined)
      throw new TorchwireError(
        "MISUSE",
        `epoch: there is no ${phase.data} data: give the learner data: { ${phase.data}: … }`,
      );
    const again = iterableAgain(data, phase.data);
    await this.#within(phase, (run) => this.#epoch(run, phase, again));
  }

  /** The frame of an epoch, for phases of one's own: "epochBegin", `body`, "epochEnd". CancelEpoch inside ends the body. */
  async runEpoch(phase: Phase, body: () => Promise<void>): Promise<void> {
    await this.#within(phase, (run) => this.#loop.epoch(phase, undefined, () => run.runEpoch(phase, body)));
  }

  /** The frame of a step, for phases of one's own: "stepBegin", `body`, "stepEnd". It is sent when it ends, and counted when it is acknowledged. */
  async runStep(phase: Phase, batch: BatchLike, body: StepBody): Promise<Step> {
    const { run, moment } = this.#loop;
    if (run !== undefined) return run.runStep(phase, batch, body);
    let step!: Step;
    await this.#within(phase, async (alone) => {
      moment.phase = phase;
      step = await alone.runStep(phase, batch, body);
      await alone.drain();
    });
    return step;
  }

  /** Computes gradients: `loss.backward()`, of the scaled loss where PyTorchBackend's `amp` is "fp16". */
  backward(loss: AnyRef): void {
    this.#backend.backward(loss);
  }

  /** `optimizer.step()`, which is left out where scaled gradients overflowed. With a closure, for optimizers that evaluate the loss again. */
  update(closure?: AnyRef): void {
    if (!isReference(this.optimizer))
      throw new TorchwireError(
        "MISUSE",
        "update: the learner has several optimizers; call the step() of those that are to step",
      );
    this.#backend.update(this.optimizer as AnyRef, closure);
  }

  /**
   * A validation epoch, over `data` or the learner's own; the metrics of it, by name. Nothing of the training changes: a loader stays where it is,
   * and no rate is reduced because of it.
   */
  async validate(data?: Data | PyObject): Promise<{ readonly [metric: string]: number }> {
    const phase = new ValidationAlone();
    const validation = data ?? this.data.validation;
    await this.epoch(phase, validation && aside(validation));
    return this.#loop.lastMetrics(phase);
  }

  /**
   * What the model makes of samples, in eval mode, without gradients; safe while a fit goes on, and from many requests at once. With `classes` or `topK` each
   * sample gets its likeliest classes, of outputs that are logits or probabilities, as the loss says; else the outputs come as they are, in one array. Of a
   * model with several they come in records or arrays of such arrays, which the type argument names: `predict<{ out: NDArray }>(…)`.
   */
  predict(
    samples: Samples,
    options: ClassifyOptions & ({ readonly classes: readonly string[] } | { readonly topK: number }),
  ): Promise<Prediction[]>;
  predict<T extends Outputs = NDArray>(samples: Samples, options?: PredictOptions): Promise<T>;
  predict(samples: Samples, options: ClassifyOptions = {}): Promise<Prediction[] | Outputs> {
    const pending = this.#ready("predict", false);
    return pending === undefined
      ? this.#predict(samples, options)
      : pending.then(() => this.#predict(samples, options));
  }

  #predict(samples: Samples, options: ClassifyOptions): Promise<Prediction[] | Outputs> {
    const device = this.getCallback(PyTorchBackend)?.device;
    const own = { ...(this.input && { input: this.input }), ...(device !== undefined && { device }), ...options };
    const model = this.#model as PyObject;
    return options.classes === undefined && options.topK === undefined
      ? outputs(model, samples, own)
      : classify(model, samples, { loss: this.loss, ...own });
  }

  /** Writes the model's weights to a safetensors file on this machine: as they are at this place of the program. See `saveWeights`. */
  save(path: string, options?: SaveWeightsOptions): Promise<void> {
    return saveWeights(this.#model as object, path, options);
  }

  /** Reads them again, from a safetensors file or a state dict of PyTorch's. See `loadWeights`. The optimizer keeps its state. */
  load(path: string, options?: LoadWeightsOptions): Promise<LoadedWeights> {
    return loadWeights(this.#model as object, path, options);
  }

  /** The model's layers, as a table: `console.log(String(await learner.summary()))`. */
  summary(options?: SummaryOptions): Promise<ModelSummary> {
    return summary(this.#model as object, options);
  }

  /**
   * What happens from now on, as plain JSON, for a web page or a log: `for await (const event of learner.events())`. It goes on from fit to fit
   * until one breaks out of it. A reader that lags more than 1,024 events behind misses the oldest.
   */
  events(): AsyncIterableIterator<TrainEvent> {
    return this.#stream.read();
  }

  // --- internal ---

  get #backend(): PyTorchBackend {
    return this.getCallback(PyTorchBackend)!;
  }

  get backend(): Backend {
    return this.#backend;
  }

  get window(): number {
    return this.#plan.waiting.length > 0 ? 1 : this.#requestedWindow;
  }

  /** What is queued where nothing can be awaited fails by itself: who uses it is told, and nobody else. */
  #apart<T>(make: () => T): T {
    const [value, outcome] = this.worker.apart(() => deep(make));
    this.#made.push(outcome);
    return value;
  }

  #init(init: Callback["init"]): void {
    const result: unknown = this.#apart(() => init?.(this));
    if (isRefusedPromise(result))
      throw new TorchwireError(
        "MISUSE",
        "the init of a callback gave a Promise: it must not be async, as nothing waits for it",
      );
  }

  /** Rejects with what failed of that with which the learner was made; for training also of its optimizer. Nothing to wait for is undefined. */
  #ready(what: string, forTraining: boolean): Promise<void> | undefined {
    const outcomes = [...this.#made, ...(forTraining ? [this.#optimizerMade] : [])].flatMap(
      (outcome) => outcome() ?? [],
    );
    if (outcomes.length === 0) {
      this.#made.length = 0;
      return undefined;
    }
    return traced(what, async () => {
      // Each is looked at, so that none is left to itself; the first is told.
      for (const outcome of await Promise.allSettled(outcomes))
        if (outcome.status === "rejected") throw await failureBefore(this, outcome.reason);
    });
  }

  #makeOptimizer(): void {
    [, this.#optimizerMade] = this.worker.apart(() => this.#optimizerOf());
  }

  #optimizerOf(): void {
    const { worker } = this;
    const model = this.#model as AnyRef;
    const like = this.#optimizerLike ?? adam();
    if (isReference(model)) {
      this.optimizer = deep(() => toOptimizer(worker, like as OptimizerOption, model));
      return;
    }
    const made = Object.entries(this.#model as { [name: string]: AnyRef }).map(([name, one]) => {
      const own = this.#optimizerLike === undefined ? adam() : (like as { [name: string]: OptimizerOption })[name];
      if (own === undefined) throw new TorchwireError("MISUSE", `optimizer: there is none for the model "${name}"`);
      return [name, deep(() => toOptimizer(worker, own, one))] as const;
    });
    this.optimizer = Object.fromEntries(made);
  }

  /** Other callbacks: all of it or nothing. A fit under way goes on with those it has. */
  #become(callbacks: readonly Callback[], added: readonly Callback[]): void {
    const before = [this.#callbacks, this.#plan] as const;
    this.#callbacks = callbacks;
    try {
      this.#plan = this.#planned();
      for (const { init } of added) this.#init(init);
    } catch (error) {
      [this.#callbacks, this.#plan] = before;
      throw error;
    }
  }

  #planned(): Plan {
    return new Plan(this.#callbacks, ({ name }) => {
      const control: Control = { cancel: (what, reason) => this.#loop.run?.cancel(what, reason, name) };
      return new LearnerParts(this, this.#loop.moment, control);
    });
  }

  #within(phase: Phase, body: (run: Run) => Promise<void>): Promise<void> {
    const ready = (): Promise<void> | undefined => this.#ready("epoch", phase.data === "training");
    return this.#loop.within(this.#plan, this.window, ready, body);
  }

  #epoch(run: Run, phase: Phase, data: Data): Promise<void> {
    return this.#loop.epoch(phase, data, () => run.epoch(phase, data, (batch) => phase.step(this, batch)));
  }
}

const isBackend = (one: Callback): boolean => one instanceof PyTorchBackend;

function modulesOf(model: unknown): readonly AnyRef[] {
  return (isReference(model) ? [model] : Object.values(model ?? {})) as AnyRef[];
}

/** Validation data that is known to be empty is told before the first epoch, and not after it. Throws BAD_DATA. */
function refuseEmpty(data: Data | PyObject, length: number | undefined): void {
  if (length !== 0) return;
  const why =
    data instanceof DataLoader && data.samples > 0
      ? `its ${data.samples} samples are less than a batch of ${data.batchSize}, and dropLast leaves them out`
      : "leave it out where there is none";
  throw new TorchwireError("BAD_DATA", `the validation data has no batches: ${why}`);
}

/** Of data in the worker; -1 where that is not known. */
async function lengthOf(data: PyObject): Promise<number> {
  const worker = workerOf(data)!;
  return (await worker.scope(() => py.js(worker.import("operator").length_hint(data, -1)))) as number;
}

/** What is in the worker is iterated from here. Throws MISUSE for what can be iterated only once. */
function iterableAgain(data: Data | PyObject, name: string): Data {
  if (isReference(data)) return overReference(data as AnyRef);
  if (typeof data !== "object" || data === null)
    throw new TorchwireError(
      "MISUSE",
      `the ${name} data is ${described(data)}: give a DataLoader, or an array of batches`,
    );
  if (typeof (data as { next?: unknown }).next === "function")
    throw new TorchwireError(
      "MISUSE",
      `the ${name} data can be iterated only once (it is a generator or another iterator): give a DataLoader, an array, or { [Symbol.asyncIterator]() { … } }`,
    );
  if (!(Symbol.asyncIterator in data) && !(Symbol.iterator in data))
    throw new TorchwireError(
      "MISUSE",
      `the ${name} data cannot be iterated: give a DataLoader, or an array of batches`,
    );
  return data as Data;
}
