/** The backend of a learner: where the model is, how batches become tensors, and how gradients are made and used. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { kw } from "../../bridge/reference/kw.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { type CallbackOptions, CallbackObject, type Handlers, type KeptState } from "../callback/callback.ts";
import { toTorch, type Conversion } from "../formats/convert.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { mapInputs } from "../data/batch.ts";
import { describedArray } from "../kept/described.ts";
import type { Inputs, Values } from "../data/types.ts";
import { same, type Format } from "../formats/index.ts";
import { described, flag, keywordsOf, oneOf, type Kinds } from "../options/keywords.ts";
import type { Backend, Trainer } from "../training/trainer.ts";
import { targetType, toTargets } from "../losses/spec.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";

export interface PyTorchBackendOptions {
  /** The device of model and batches. Default: the worker's device. */
  readonly device?: string;
  /**
   * Scales the gradients down to this norm before each update: `torch.nn.utils.clip_grad_norm_`, over all parameters of
   * an optimizer together. Each of several optimizers is clipped by itself.
   */
  readonly clipGradNorm?: number;
  /**
   * Averages the gradients of so many batches before each update. The last group may have fewer, and is averaged over
   * those. A step that is cancelled leaves its share out; where it is the last of its group, the group makes no update.
   * Default 1.
   */
  readonly accumulate?: number;
  /**
   * Clamps each gradient to ± this before each update: `torch.nn.utils.clip_grad_value_`. It acts after `clipGradNorm`,
   * where both are given.
   */
  readonly clipGradValue?: number;
  /**
   * Mixed precision: the model computes under `torch.autocast`, in bfloat16 or float16, and gives float32, so that
   * losses and metrics have full precision. "fp16" also scales the loss (`torch.amp.GradScaler`), and leaves out
   * updates whose gradients overflowed. Autocast stays with the model: predictions use it too.
   */
  readonly amp?: "bf16" | "fp16";
  /**
   * Compiles the model in place at its first run: `module.compile(…)`, with torch.compile's options. The worker's
   * machine needs a C++ compiler.
   */
  readonly compile?: boolean | CompileOptions;
  /**
   * Keeps images and model in NHWC memory layout, which suits tensor cores. The bits differ from contiguous ones, and
   * are as right. Default false.
   */
  readonly channelsLast?: boolean;
}

export interface CompileOptions {
  /** The goal of the optimization. PyTorch's default: "default". */
  readonly mode?: "default" | "reduce-overhead" | "max-autotune" | "max-autotune-no-cudagraphs";
  /** Whether shapes may change without a new compilation. PyTorch's default: it finds out. */
  readonly dynamic?: boolean;
  /** Fails where the model is not one graph. PyTorch's default: false. */
  readonly fullgraph?: boolean;
  /** PyTorch's default: "inductor". */
  readonly backend?: string;
}

/**
 * A learner's backend, `learner.backend`: it moves the model to its device, turns batches into tensors there, and makes
 * and uses gradients. Every learner has exactly one, and it is there by default. It prepares the model when the learner
 * gets it, and is a callback for the rest. In line it sets the model to training mode when a training epoch begins, and
 * turns each batch into tensors, by the learner's formats: arrays that JavaScript sent. References are PyTorch's
 * already.
 */
export class PyTorchBackend extends CallbackObject implements Backend {
  override readonly name = "PyTorchBackend";
  override readonly access = { model: "use", step: { xs: "write", ys: "write" } } as const;
  override readonly on: Handlers<PyTorchBackend["access"]>;
  readonly accumulate: number;
  readonly #options: PyTorchBackendOptions;
  readonly #compile: Record<string, unknown> | undefined;
  #learner: Trainer | undefined;
  #clip: AnyRef | undefined;
  #scaler: AnyRef | undefined;

  constructor(options: PyTorchBackendOptions = {}) {
    super();
    const { accumulate = 1, clipGradNorm, clipGradValue, amp, compile } = options;
    if (!Number.isSafeInteger(accumulate) || accumulate < 1)
      throw new TorchwireError(
        "MISUSE",
        `PyTorchBackend: accumulate must be a whole number from 1, not ${String(accumulate)}`,
      );
    for (const [name, limit] of Object.entries({ clipGradNorm, clipGradValue }))
      if (limit !== undefined && !(limit > 0))
        throw new TorchwireError("MISUSE", `PyTorchBackend: ${name} must be above 0, not ${String(limit)}`);
    if (amp !== undefined && !(amp in DTYPES))
      throw new TorchwireError("MISUSE", `PyTorchBackend: amp is "bf16" or "fp16", not ${described(amp)}`);
    this.accumulate = accumulate;
    if (compile !== undefined && compile !== false)
      this.#compile = keywordsOf("PyTorchBackend: compile", compileOptions, compile === true ? {} : compile);
    this.#options = options;
    const clips = clipGradNorm !== undefined || clipGradValue !== undefined;
    this.on = { ...this.#always, ...(clips && { backwardEnd: () => this.#clipGradients() }) };
  }

  readonly #always: Handlers<PyTorchBackend["access"]> = {
    epochBegin: ({ phase }) => {
      if (!(phase instanceof AbstractTrainingPhase)) return;
      const { worker, modules } = this.#known;
      // The scope frees what train() returns now, and not when it is garbage.
      worker.scope(() => {
        for (const module of modules) module.train();
      });
    },
    stepBegin: ({ step }) => {
      step.xs = this.inputs(step.xs as Inputs);
      step.ys = this.targets(step.ys as Inputs);
    },
  };

  /** Its options, for a Python script. */
  get inPython(): PyTorchBackendOptions & {
    readonly keywords: object | undefined;
    readonly scaler: AnyRef | undefined;
  } {
    return { ...this.#options, keywords: this.#compile, scaler: this.#scaler };
  }

  override get options(): CallbackOptions {
    // A fit may go on elsewhere.
    const { device: _, ...others } = this.#options;
    return others;
  }

  override readonly state: KeptState = {
    save: () => null,
    load: () => undefined,
    objects: (): { readonly [name: string]: AnyRef } => (this.#scaler === undefined ? {} : { scaler: this.#scaler }),
  };

  /** A backend with the same options for another learner of the same model, which has been compiled already. */
  another(): PyTorchBackend {
    return new PyTorchBackend({ ...this.#options, compile: false });
  }

  /** Prepares the learner's model. A learner calls it when it gets this backend, and when it gets another model. */
  prepare(learner: Trainer): void {
    if (this.#learner !== undefined && this.#learner !== learner)
      throw new TorchwireError("MISUSE", "a PyTorchBackend belongs to one learner: make another one");
    this.#learner = learner;
    const { worker } = learner;
    if (this.device !== "cpu") for (const module of learner.modules) module.to(this.device);
    if (this.#options.channelsLast === true) {
      const { channels_last } = worker.import("torch");
      for (const module of learner.modules) module.to(kw({ memory_format: channels_last }));
    }
    const { amp, clipGradNorm, clipGradValue } = this.#options;
    if (clipGradNorm !== undefined || clipGradValue !== undefined)
      this.#clip = py.keep(worker.import("torchwire_worker.helpers.optim").clip_gradients);
    const [kind] = this.device.split(":") as [string];
    if (amp !== undefined) {
      const helpers = worker.import("torchwire_worker.helpers.amp");
      for (const module of learner.modules) helpers.autocast_forward(module, kind, DTYPES[amp]);
    }
    if (amp === "fp16") {
      this.#scaler = py.keep(worker.import("torch").amp.GradScaler(kind));
    }
    if (this.#compile !== undefined) for (const module of learner.modules) module.compile(kw(this.#compile));
  }

  get device(): string {
    return this.#options.device ?? this.#known.worker.device;
  }

  /** Inputs as the model takes them: on the device, in PyTorch's axes. */
  inputs(xs: Inputs): any {
    const { input } = this.#known;
    return mapInputs(xs, "xs", (value, path) => this.#toTorch(value, path, input));
  }

  targets(ys: Inputs): any {
    const { target, loss } = this.#known;
    return mapInputs(ys, "ys", (value, path) => {
      const tensor = this.#toTorch(value, path, target ?? same, (dtype) => targetType(loss, dtype));
      const array = isNDArray(value) ? value : describedArray(value);
      return array === undefined ? tensor : toTargets(loss, tensor, array.dtype);
    });
  }

  get #known(): Trainer {
    if (this.#learner === undefined)
      throw new TorchwireError("MISUSE", "this PyTorchBackend belongs to no learner yet");
    return this.#learner;
  }

  backward(loss: AnyRef): void {
    (this.#scaler === undefined ? loss : this.#scaler.scale(loss)).backward();
  }

  update(optimizer: AnyRef, closure: AnyRef | undefined): void {
    if (!isReference(optimizer))
      throw new TorchwireError(
        "MISUSE",
        "update: the learner has several optimizers; call the step() of those that are to step",
      );
    const closures = closure === undefined ? [] : [closure];
    if (closure !== undefined && this.#clip !== undefined)
      throw new TorchwireError(
        "MISUSE",
        "PyTorchBackend: clipGradNorm and clipGradValue do not go with an optimizer that evaluates gradients anew within a step",
      );
    if (this.#scaler === undefined) return void optimizer.step(...closures);
    this.#scaler.step(optimizer, ...closures);
    this.#scaler.update();
  }

  #toTorch(value: Values, path: string, format: Format | undefined, typed?: Conversion["typed"]): AnyRef {
    const { worker } = this.#known;
    return toTorch(value, path, {
      worker,
      device: this.device,
      format,
      channelsLast: this.#options.channelsLast ?? false,
      ...(typed && { typed }),
    });
  }

  #clipGradients(): void {
    const { step, optimizer } = this.#known;
    if (!step!.group.isLast) return;
    // The limits are for the gradients without their scale.
    for (const one of isReference(optimizer) ? [optimizer] : Object.values(optimizer)) this.#scaler?.unscale_(one);
    const { clipGradNorm, clipGradValue } = this.#options;
    const limit = (given: number | undefined): unknown => (given === undefined ? null : py.float(given));
    this.#clip!(optimizer, limit(clipGradNorm), limit(clipGradValue));
  }
}

const DTYPES = { bf16: "bfloat16", fp16: "float16" } as const;

const compileOptions: Kinds<CompileOptions> = {
  mode: oneOf("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
  dynamic: flag,
  fullgraph: flag,
  backend: { is: "a string", send: (value) => (typeof value === "string" ? value : undefined) },
};
