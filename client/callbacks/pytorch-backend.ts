/** Between a learner and PyTorch: where the model is, what batches become, and how gradients are made and used. */
import { TorchwireError } from "../../bridge/errors.ts";
import { isNDArray } from "../../bridge/ndarray.ts";
import { kw } from "../../bridge/kw.ts";
import { py } from "../../bridge/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import { toTorch } from "../convert.ts";
import { mapInputs } from "../data/batch.ts";
import type { Inputs, Values } from "../data/types.ts";
import { same, type Format } from "../formats/index.ts";
import type { Learner } from "../learner.ts";
import { toTargets } from "../losses.ts";
import { AbstractTrainingPhase } from "../phases.ts";

export interface PyTorchBackendOptions {
  /** Where model and batches go. Default: the worker's device. */
  readonly device?: string;
  /** Scales the gradients down to this norm, all parameters together, before each update: `torch.nn.utils.clip_grad_norm_`. */
  readonly clipGradNorm?: number;
  /**
   * Batches whose gradients are averaged before each update; a last group may have fewer, and is averaged over what it has.
   * A step that is cancelled leaves its share out; where it is the last of its group, the group makes no update. Default 1.
   */
  readonly accumulate?: number;
  /** Images and model in NHWC memory layout, which suits tensor cores. Other bits than contiguous, and as right. Default false. */
  readonly channelsLast?: boolean;
}

/**
 * There by default. In line: it moves the model when the learner is made, sets it to training mode when a training epoch begins, and turns each
 * batch into tensors, by the learner's formats: arrays that JavaScript sent. References are PyTorch's already.
 */
export class PyTorchBackend extends CallbackObject {
  readonly accumulate: number;
  readonly #options: PyTorchBackendOptions;
  #learner: Learner | undefined;
  #clip: AnyRef | undefined;

  constructor(options: PyTorchBackendOptions = {}) {
    const { accumulate = 1, clipGradNorm } = options;
    if (!Number.isSafeInteger(accumulate) || accumulate < 1)
      throw new TorchwireError(
        "MISUSE",
        `PyTorchBackend: accumulate must be a whole number from 1, not ${String(accumulate)}`,
      );
    if (clipGradNorm !== undefined && !(clipGradNorm > 0))
      throw new TorchwireError("MISUSE", `PyTorchBackend: clipGradNorm must be above 0, not ${String(clipGradNorm)}`);
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
          ...(clipGradNorm === undefined ? {} : { backwardEnd: () => self.current!.#clipGradients(clipGradNorm) }),
        },
      }),
    );
    self.current = this;
    this.accumulate = accumulate;
    this.#options = options;
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

  get #known(): Learner {
    if (this.#learner === undefined)
      throw new TorchwireError("MISUSE", "this PyTorchBackend belongs to no learner yet");
    return this.#learner;
  }

  #init(learner: Learner): void {
    if (this.#learner !== undefined && this.#learner !== learner)
      throw new TorchwireError("MISUSE", "a PyTorchBackend belongs to one learner: make another one");
    this.#learner = learner;
    const { worker } = learner;
    if (this.device !== "cpu") for (const module of learner.modules) module.to(this.device);
    if (this.#options.channelsLast === true) {
      const torch = worker.import("torch") as unknown as AnyRef;
      for (const module of learner.modules) module.to(kw({ memory_format: torch.channels_last }));
    }
    if (this.#options.clipGradNorm !== undefined)
      this.#clip = py.keep(worker.import("torch.nn.utils").clip_grad_norm_ as AnyRef);
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

  #clipGradients(norm: number): void {
    const { step, modules } = this.#known;
    if (step!.group.isLast) for (const module of modules) this.#clip!(module.parameters(), py.float(norm));
  }
}
