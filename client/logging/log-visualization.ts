import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import type { View } from "../callback/access.ts";
import { CallbackObject, type Callback, type Measured, type Observers } from "../callback/callback.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import type { StepState } from "../training/events.ts";
import { ofBatch, type Format } from "../formats/format.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { backendsFor, stateWith, type Backends, type LoggerBackend } from "./backend.ts";
import { every, type Every } from "./every.ts";
import { Loggables, type Loggable } from "./loggables.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";

type Shown = Loggable | number | { readonly [name: string]: Loggable | number };

export interface LogVisualizationOptions {
  /** Logs the first training step and every `freq`-th after it. Default 100. */
  readonly freq?: number;
  /**
   * Makes what is logged out of the values behind the references: one, or several by name. Default: a tensor as an
   * image with PyTorch's axes, [C, H, W] or [H, W], or a batch of these, [N, C, H, W], as one picture.
   */
  readonly show?: (values: any) => Shown;
  /**
   * Undoes this format first, on each tensor: `image(imagenet)` makes bytes, [N, H, W, C], of inputs that were
   * normalised.
   */
  readonly format?: Format;
}

/**
 * Logs what `look` picks from a step, as `Step/Visualization`, or in that group where `show` gives several, by the
 * number of the training step:
 *
 *     new LogVisualization(({ xs }) => xs.narrow(0, 0, 8), tensorBoard("runs/one"))
 *
 * `look` gets the step with its references, and returns a reference to a tensor, or several by name. It must not be
 * async: what it picks travels with the step.
 */
export class LogVisualization extends CallbackObject {
  override readonly name = "LogVisualization";
  override readonly phase: Callback["phase"] = AbstractTrainingPhase;
  override readonly access = { step: "use", state: { history: "read" } } as const;
  readonly #look: (step: StepState) => AnyRef | Measured;
  override readonly state: Callback["state"];
  readonly #backends: readonly LoggerBackend[];
  readonly #show: LogVisualizationOptions["show"];
  readonly #format: Format | undefined;
  readonly #isDue: Every;
  #worker!: Worker;

  constructor(
    look: (step: StepState) => AnyRef | Measured,
    backends: Backends,
    { freq = 100, show, format }: LogVisualizationOptions = {},
  ) {
    super();
    if (typeof look !== "function" || isReference(look))
      throw misuse(`${described(look)} is not a function of the step: ({ xs }) => xs[0]`);
    this.#look = look;
    this.#backends = backendsFor("LogVisualization", backends, show === undefined ? "image" : undefined);
    this.#show = show;
    this.#format = format;
    this.#isDue = every("LogVisualization", freq);
    this.state = stateWith(this.#backends, this.#isDue.state);
  }

  override readonly init = ({ worker }: Trainer): void => {
    this.#worker = worker;
  };

  override readonly measure = ({ step }: View<LogVisualization["access"], "stepEnd">): Measured => {
    if (!this.#isDue()) return {};
    const seen: unknown = this.#look(step);
    if (isReference(seen)) return { [NAMED]: this.#undone(seen) };
    if (typeof seen !== "object" || seen === null || typeof (seen as { then?: unknown }).then === "function")
      throw misuse(
        `the function gave ${described(seen)}; it must return a reference, or several by name, and must not be async`,
      );
    return Object.fromEntries(Object.entries(seen).map(([name, one]) => [NAMED + name, this.#undone(one)]));
  };

  override readonly observe: Observers<LogVisualization["access"]> = {
    stepEnd: ({ phase, state, values }) => {
      // The values have the loss, too.
      const seen = Object.entries(values).filter(([name]) => name.startsWith(NAMED));
      if (seen.length === 0) return;
      const at = state.history[phase.name]!.steps;
      const shown = this.#shown(seen.map(([name, value]) => [name.slice(NAMED.length), value as unknown] as const));
      const record = isOne(shown)
        ? { group: ["Step"], at, values: { Visualization: shown } }
        : { group: ["Step", "Visualization"], at, values: shown };
      for (const backend of this.#backends) backend.log(record);
    },
  };

  #undone(reference: unknown): object | number {
    if (this.#format === undefined || typeof reference === "number") return reference as object | number;
    return ofBatch(this.#format).fromTorch(reference as AnyRef, { worker: this.#worker, dtype: "uint8" });
  }

  #shown(named: readonly (readonly [string, unknown])[]): Shown {
    const asked = named[0]![0] === "" ? named[0]![1] : Object.fromEntries(named);
    if (this.#show === undefined) return pictures(asked, this.#format === undefined ? "CHW" : "HWC");
    const shown = this.#show(asked);
    if (typeof shown === "number" || (typeof shown === "object" && shown !== null)) return shown;
    throw misuse(
      `\`show\` gave ${described(shown)}; it must return one of Loggables, a number, or several of these by name`,
    );
  }
}

/** Stands before the names of what is seen, and alone where it has no name. */
const NAMED = "seen ";

const isOne = (shown: Shown): shown is Loggable | number =>
  typeof shown === "number" || typeof (shown as Partial<Loggable>).kind === "string";

function pictures(seen: unknown, axes: "CHW" | "HWC"): Loggable | { readonly [name: string]: Loggable } {
  const picture = (value: unknown): Loggable => {
    if (isNDArray(value)) return Loggables.image(value, { axes });
    throw misuse(`${described(value)} is not an image: say with \`show\` what to log of it`);
  };
  if (isNDArray(seen) || typeof seen !== "object" || seen === null) return picture(seen);
  return Object.fromEntries(Object.entries(seen).map(([name, value]) => [name, picture(value)]));
}

const misuse = (message: string): TorchwireError => new TorchwireError("MISUSE", `LogVisualization: ${message}`);
