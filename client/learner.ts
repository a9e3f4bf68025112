/** The learner: a model, its loss, its optimizer and its data, and a loop that callbacks and phases take part in. */
import { TorchwireError } from "../bridge/errors/errors.ts";
import type { AnyRef, PyObject } from "../bridge/types/core.ts";
import type { NDArray } from "../bridge/values/ndarray.ts";
import { workerOf, type Worker } from "../bridge/worker.ts";
import { py } from "../bridge/reference/py.ts";
import { described } from "./options/keywords.ts";
import type { PyTorchBackend } from "./backend/pytorch-backend.ts";
import type { State } from "./callback/access.ts";
import type { Callback, CallbackClass } from "./callback/callback.ts";
import { withDefaults } from "./callbacks/defaults.ts";
import { toPython, type PythonScript, type ToPythonOptions } from "./as-python/to-python.ts";
import { aside } from "./data/aside.ts";
import { iterableAgain } from "./data/iterable.ts";
import { checkPick, type Picked } from "./data/picked.ts";
import type { BatchLike, Data, Inputs } from "./data/types.ts";
import type { Format } from "./formats/index.ts";
import { EventStream } from "./loop/events-stream.ts";
import { Loop } from "./loop/loop.ts";
import { learnerOptions, type FitOptions, type LearnerOptions } from "./loop/options.ts";
import { onlyOptions } from "./options/keywords.ts";
import type { StepBody } from "./loop/run.ts";
import { toLoss, type Loss } from "./losses/spec.ts";
import { given } from "./losses/weight.ts";
import {
  predictedBy,
  type ClassifyOptions,
  type Outputs,
  type Prediction,
  type PredictOptions,
  type Samples,
  type Selected,
  type SelectOptions,
} from "./model/predict.ts";
import { modulesOf, workerOfModel } from "./model/modules.ts";
import { summary, type ModelSummary, type SummaryOptions } from "./model/summary.ts";
import { Hyper } from "./optim/hyper.ts";
import { optimizerOf } from "./optim/of-model.ts";
import type { Step, TrainEvent } from "./training/events.ts";
import { ValidationAlone, type Phase } from "./training/phases.ts";
import type { Report } from "./training/report.ts";
import { outputsOf } from "./training/forward.ts";
import type { LearnerData, OutputFunction, Trainer } from "./training/trainer.ts";
import { loadWeights, type LoadedWeights, type LoadWeightsOptions } from "./weights/load.ts";
import { saveWeights, type SaveWeightsOptions } from "./weights/save.ts";
export type { FitOptions, LearnerOptions } from "./loop/options.ts";
export type { LearnerData } from "./training/trainer.ts";
export type { PythonScript, ToPythonOptions } from "./as-python/to-python.ts";

/** `M` is a reference to a model, or a record of several, for phases of your own. */
export class Learner<M = any> implements Trainer {
  readonly worker: Worker;
  /** The loss that the learner was given. */
  readonly loss: Loss;
  /** A PyTorch optimizer; with several models a record of them. */
  optimizer: any;
  /** The optimizer's hyperparameters, to read and to set: `learner.hyper.set("lr", 1e-4)`. */
  readonly hyper: Hyper = new Hyper(this, () => this.#loop.preparations.ready("hyper", true));
  data: LearnerData;
  readonly input: Format | undefined;
  readonly target: Format | undefined;
  /** Picks what losses and metrics see out of the model's output. */
  readonly output: OutputFunction | undefined;
  /** The step that is being issued. */
  step: Step | undefined;
  /** The state that callbacks write for others: history, metrics. */
  readonly state: State = {} as State;
  readonly tracked: ReadonlyMap<string, AnyRef> = new Map();
  readonly #optimizerOptions: LearnerOptions["optimizer"];
  readonly #stream = new EventStream();
  readonly #loop: Loop;
  #model: M;
  #lossFn!: (yhat: AnyRef, ys: any) => AnyRef;

  /**
   * @throws MISUSE where the callbacks do not go together, `model` is no reference, or an option is unknown.
   */
  constructor(model: M, loss: Loss, options: LearnerOptions = {}) {
    const { data = {}, input, target, output, optimizer, callbacks = [], defaultCallbacks = true, window } = options;
    onlyOptions<LearnerOptions>("new Learner(…)", learnerOptions, options);
    const worker = workerOfModel(model);
    checkPick("new Learner(…, { output }): output", output);
    this.worker = worker;
    this.#model = model;
    this.data = data;
    this.input = input;
    this.target = target;
    this.output = output;
    this.#optimizerOptions = optimizer;
    this.loss = loss;
    this.#loop = new Loop(this, window, this.#stream);
    this.lossFn = this.#loop.preparations.prepare(() => toLoss(worker, loss));
    this.#loop.callbacks.set(withDefaults(callbacks, defaultCallbacks));
    this.#makeOptimizer();
  }

  get model(): M {
    return this.#model;
  }

  /** Another model gets a fresh optimizer. */
  set model(model: M) {
    this.#model = model;
    this.#loop.callbacks.prepareModel();
    this.#makeOptimizer();
  }

  /** Computes the loss of outputs and targets: a reference to a tensor. */
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
    return this.#loop.callbacks.all;
  }

  /** The PyTorchBackend among the callbacks. */
  get backend(): PyTorchBackend {
    return this.#loop.callbacks.backend;
  }

  /** The most steps in flight: at present, where that goes by their time. */
  get window(): number {
    return this.#loop.window;
  }

  /**
   * Makes checkpoints of `fit(n, { resume })` keep an object of yours in the worker, under a name that tells it apart:
   * one with state_dict and load_state_dict, a tensor, a torch.Generator, or a generator of NumPy's or Python's.
   */
  track(name: string, object: AnyRef): void {
    if (workerOf(object) !== this.worker)
      throw new TorchwireError(
        "MISUSE",
        `track: "${name}" is ${described(object)}; it must be an object in the learner's worker`,
      );
    if (this.tracked.has(name))
      throw new TorchwireError("MISUSE", `track: there is a "${name}" already; give another name`);
    (this.tracked as Map<string, AnyRef>).set(name, py.keep(object));
  }

  /** Adds a callback, and calls its `init`. */
  addCallback(callback: Callback): void {
    this.#loop.callbacks.add(callback);
  }

  /** The first callback of this class, or of this name; or undefined. */
  getCallback(kind: string): Callback | undefined;
  getCallback<T extends Callback>(kind: abstract new (...args: any[]) => T): T | undefined;
  getCallback(kind: string | CallbackClass): Callback | undefined {
    return this.#loop.callbacks.find(kind);
  }

  /**
   * Replaces the first callback of this one's class, or else of its name, and returns that. Adds the callback where
   * there is none.
   */
  replaceCallback(callback: Callback): Callback | undefined {
    return this.#loop.callbacks.replace(callback);
  }

  /** Removes the first callback of this class, or of this name, and returns it; undefined where there is none. */
  removeCallback(kind: string): Callback | undefined;
  removeCallback<T extends Callback>(kind: abstract new (...args: any[]) => T): T | undefined;
  removeCallback(kind: string | CallbackClass): Callback | undefined {
    return this.#loop.callbacks.remove(kind);
  }

  /** Replaces all callbacks; the backend stays where none is given. Calls `init` of those that are new. */
  setCallbacks(callbacks: readonly Callback[]): void {
    this.#loop.callbacks.set(callbacks);
  }

  /**
   * Tells which callbacks take part in each event, in their order; which functions of the program Python has called,
   * each time by a round trip; and how many steps are in flight and why.
   */
  explain(): string {
    return this.#loop.explain();
  }

  /**
   * Runs a training epoch and a validation epoch, `epochs` times. Where a callback stops it, or `signal` or Ctrl-C
   * interrupts it, the report says so. It rejects where something failed.
   */
  fit(epochs: number, options: FitOptions = {}): Promise<Report> {
    return this.#loop.fit(epochs, options);
  }

  /**
   * Runs one epoch of `phase`, over `data` or the learner's own. It rejects with CancelFitting where a callback stops
   * it.
   */
  async epoch(phase: Phase, data: Data | PyObject | undefined = this.data[phase.data]): Promise<void> {
    if (data === undefined)
      throw new TorchwireError(
        "MISUSE",
        `epoch: there is no ${phase.data} data: give the learner data: { ${phase.data}: … }`,
      );
    await this.#loop.epoch(phase, iterableAgain(data, phase.data));
  }

  /**
   * The frame of an epoch, for phases of your own: "epochBegin", `body`, "epochEnd". CancelEpoch inside ends the body.
   */
  async runEpoch(phase: Phase, body: () => Promise<void>): Promise<void> {
    await this.#loop.runEpoch(phase, body);
  }

  /**
   * The frame of a step, for phases of your own: "stepBegin", `body`, "stepEnd". The step is sent when it ends, and
   * counts when the worker has acknowledged it.
   */
  runStep(phase: Phase, batch: BatchLike, body: StepBody): Promise<Step> {
    return this.#loop.runStep(phase, batch, body);
  }

  /**
   * The outputs of the model, as losses and metrics see them, for phases of your own: of `model(xs)`, what `output`
   * picks. `xs` and `ys` are those of a step. The model gets `ys` only where it computes its own loss (see `ownLoss`),
   * which `lossFn` then gives for these outputs.
   */
  forward(xs: Inputs, ys: unknown): any {
    return outputsOf(this, xs, ys);
  }

  /** Computes gradients: `loss.backward()`, of the scaled loss where the backend's `amp` is "fp16". */
  backward(loss: AnyRef): void {
    this.backend.backward(loss);
  }

  /**
   * Calls `optimizer.step()`, but not where scaled gradients overflowed. Optimizers that evaluate the loss again take a
   * closure.
   */
  update(closure?: AnyRef): void {
    this.backend.update(this.optimizer as AnyRef, closure);
  }

  /**
   * Runs a validation epoch, over `data` or the learner's own, and returns its metrics by name. It changes nothing of
   * the training: a loader keeps its position, and no rate is reduced because of it.
   */
  async validate(data?: Data | PyObject): Promise<{ readonly [metric: string]: number }> {
    const phase = new ValidationAlone();
    const validation = data ?? this.data.validation;
    await this.epoch(phase, validation && aside(validation));
    return this.#loop.lastMetrics(phase);
  }

  /**
   * Predicts in eval mode, without gradients. It is safe while a fit goes on, and from many requests at once. With
   * `classes` or `topK` each sample gets its likeliest classes, of outputs that are logits or probabilities, as the
   * loss says. Otherwise the outputs come as they are, in one array. A model with several outputs gives records or
   * arrays of such arrays, which the type argument names: `predict<{ out: NDArray }>(…)`. `select` picks some of them:
   * `predict(samples, { select: (y) => y.logits, topK: 3 })`.
   */
  predict(
    samples: Samples,
    options: ClassifyOptions & ({ readonly classes: readonly string[] } | { readonly topK: number }),
  ): Promise<Prediction[]>;
  predict<S extends Picked>(samples: Samples, options: SelectOptions<S>): Promise<Selected<S>>;
  predict<T extends Outputs = NDArray>(samples: Samples, options?: PredictOptions): Promise<T>;
  predict(samples: Samples, options: ClassifyOptions = {}): Promise<unknown> {
    const predict = (): Promise<unknown> => predictedBy(this, samples, options);
    return this.#loop.preparations.ready("predict", false)?.then(predict) ?? predict();
  }

  /**
   * Writes the model's weights, as they are at this place of the program, to a safetensors file on this machine. See
   * `saveWeights`.
   */
  save(path: string, options?: SaveWeightsOptions): Promise<void> {
    return saveWeights(this.#model as object, path, options);
  }

  /**
   * Loads the model's weights from a safetensors file or a state dict of PyTorch's. The optimizer keeps its state. See
   * `loadWeights`.
   */
  load(path: string, options?: LoadWeightsOptions): Promise<LoadedWeights> {
    return loadWeights(this.#model as object, path, options);
  }

  /**
   * Writes the fit that `fit(epochs)` would be now as one script of plain PyTorch, with its data and the weights of now
   * beside it: `python fit.py` gives the same bits, without torchwire. Nothing of the learner changes. What has no form
   * in Python is told in `gaps`, and in the script at its place.
   * @throws MISUSE for several models, and where `model` makes another model; BUSY while a fit goes on; NOT_SAVED.
   */
  toPython(epochs: number, options: ToPythonOptions): Promise<PythonScript> {
    const source = { learner: this, preparations: this.#loop.preparations, epochs: this.#loop.epochsOf("training") };
    return toPython(source, epochs, options);
  }

  /** The model's layers, as a table: `console.log(String(await learner.summary()))`. */
  summary(options?: SummaryOptions): Promise<ModelSummary> {
    return summary(this.#model as object, options);
  }

  /**
   * Tells what happens from now on, as plain JSON, for a web page or a log:
   * `for await (const event of learner.events())`. It goes on from fit to fit until `signal` aborts or the reader breaks
   * out of it. If a reader lags more than 1,024 events behind, "missed" says how many of the oldest it has lost.
   */
  events({ signal }: { readonly signal?: AbortSignal } = {}): AsyncIterableIterator<TrainEvent> {
    return this.#stream.read(signal);
  }

  #makeOptimizer(): void {
    this.#loop.preparations.prepareOptimizer(() => {
      this.optimizer = optimizerOf(this.worker, this.#model, this.#optimizerOptions);
    });
  }
}
