/** Between a learner and PyTorch: where the model is, what batches become, and how gradients are made and used. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { kw } from "../../bridge/reference/kw.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import { toTorch } from "../formats/convert.ts";
import { isReference, mapInputs } from "../data/batch.ts";
import type { Inputs, Values } from "../data/types.ts";
import { same, type Format } from "../formats/index.ts";
import { described, flag, keywordsOf, oneOf, type Kinds } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { toTargets } from "../losses/spec.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";

export interface PyTorchBackendOptions {
  /** Where model and batches go. Default: the worker's device. */
  readonly device?: string;
  /**
   * Scales the gradients down to this norm, all parameters of the optimizer together, before each update: `torch.nn.utils.clip_grad_norm_`. Several
   * optimizers each by itself.
   */
  readonly clipGradNorm?: number;
  /**
   * Batches whose gradients are averaged before each update; a last group may have fewer, and is averaged over what it has.
   * A step that is cancelled leaves its share out; where it is the last of its group, the group makes no update. Default 1.
   */
  readonly accumulate?: number;
  /** Clamps each gradient to ± this before each update: `torch.nn.utils.clip_grad_value_`. After `clipGradNorm`, where both are given. */
  readonly clipGradValue?: number;
  /**
   * Mixed precision: the model computes under `torch.autocast`, in bfloat16 or float16, and gives float32, so that losses and metrics are computed in full precision. "fp16"
   * also scales the loss (`torch.amp.GradScaler`), and leaves out updates whose gradients overflowed. It stays with the model: predictions are made so too.
   */
  readonly amp?: "bf16" | "fp16";
  /** Compiles the model in place, when it is first run: `module.compile(…)`, torch.compile's options. It needs a C++ compiler where the worker is. */
  readonly compile?: boolean | CompileOptions;
  /** Images and model in NHWC memory layout, which suits tensor cores. Other bits than contiguous, and as right. Default false. */
  readonly channelsLast?: boolean;
}

export interface CompileOptions {
  /** The goal of the optimisation. PyTorch's default: "default". */
  readonly mode?: "default" | "reduce-overhead" | "max-autotune" | "max-autotune-no-cudagraphs";
  /** Whether shapes may change without compiling again. PyTorch's default: it finds out. */
  readonly dynamic?: boolean;
  /** An error where the model is not one graph. PyTorch's default: false. */
  readonly fullgraph?: boolean;
  /** PyTorch's default: "inductor". */
  readonly backend?: string;
}

/**
 * There by default. In line: it moves the model when the learner is made, sets it to training mode when a training epoch begins, and turns each
 * batch into tensors, by the learner's formats: arrays that JavaScript sent. References are PyTorch's already.
 */
export class PyTorchBackend extends CallbackObject {
  readonly accumulate: number;
  readonly #options: PyTorchBackendOptions;
  #learner: Trainer | undefined;
  #clip: AnyRef | undefined;
  #scaler: AnyRef | undefined;
  readonly #compile: Record<string, unknown> | undefined;

  constructor(options: PyTorchBackendOptions = {}) {
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
    // The literal is made before `this` is there.
    const self: { current?: PyTorchBackend } = {};
    super(
      callback({
        name: "PyTorchBackend",
        access: { model: "use", step: { xs: "write", ys: "write" } },
        init: (learner) => self.current!.#init(learner),
        on: {
          epochBegin: ({ phase }) => {
            if (!(phase instanceof AbstractTrainingPhase)) return;
            const { worker, modules } = self.current!.#known;
            // What train() gives back is freed here, not when it is garbage.
            worker.scope(() => {
              for (const module of modules) module.train();
            });
          },
          stepBegin: ({ step }) => {
            step.xs = self.current!.inputs(step.xs as Inputs);
            step.ys = self.current!.targets(step.ys as Inputs);
          },
          ...(clipGradNorm === undefined && clipGradValue === undefined
            ? {}
            : { backwardEnd: () => self.current!.#clipGradients() }),
        },
      }),
    );
    self.current = this;
    this.accumulate = accumulate;
    if (compile !== undefined && compile !== false)
      this.#compile = keywordsOf("PyTorchBackend: compile", compileOptions, compile === true ? {} : compile);
    this.#options = options;
  }

  /** One like it, for another learner of the same model, which has been compiled already. */
  another(): PyTorchBackend {
    return new PyTorchBackend({ ...this.#options, compile: false });
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
      const tensor = this.#toTorch(value, path, target ?? same);
      return isNDArray(value) ? toTargets(loss, tensor, value.dtype) : tensor;
    });
  }

  get #known(): Trainer {
    if (this.#learner === undefined)
      throw new TorchwireError("MISUSE", "this PyTorchBackend belongs to no learner yet");
    return this.#learner;
  }

  #init(learner: Trainer): void {
    if (this.#learner !== undefined && this.#learner !== learner)
      throw new TorchwireError("MISUSE", "a PyTorchBackend belongs to one learner: make another one");
    this.#learner = learner;
    const { worker } = learner;
    if (this.device !== "cpu") for (const module of learner.modules) module.to(this.device);
    if (this.#options.channelsLast === true) {
      const torch = worker.import("torch") as unknown as AnyRef;
      for (const module of learner.modules) module.to(kw({ memory_format: torch.channels_last }));
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
      const torch = worker.import("torch") as unknown as AnyRef;
      this.#scaler = py.keep(torch.amp.GradScaler(kind));
    }
    if (this.#compile !== undefined) for (const module of learner.modules) module.compile(kw(this.#compile));
  }

  backward(loss: AnyRef): void {
    (this.#scaler === undefined ? loss : this.#scaler.scale(loss)).backward();
  }

  update(optimizer: AnyRef, closure: AnyRef | undefined): void {
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

  #toTorch(value: Values, path: string, format: Format | undefined): AnyRef {
    const { worker } = this.#known;
    return toTorch(value, path, {
      worker,
      device: this.device,
      format,
      channelsLast: this.#options.channelsLast ?? false,
    });
  }

  #clipGradients(): void {
    const { step, optimizer } = this.#known;
    if (!step!.group.isLast) return;
    // Limits are those of the gradients themselves.
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
