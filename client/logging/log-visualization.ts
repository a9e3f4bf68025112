import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { callback, CallbackObject, type Measured } from "../callback/callback.ts";
import { isReference } from "../data/batch.ts";
import type { StepState } from "../training/events.ts";
import { ofBatch, type Format } from "../formats/format.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { backendsFor, type Backends } from "./backend.ts";
import { every } from "./every.ts";
import { Loggables, type Loggable } from "./loggables.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";

type Shown = Loggable | number | { readonly [name: string]: Loggable | number };

export interface LogVisualizationOptions {
  /** Every how many training steps, the first of them included. Default 100. */
  readonly freq?: number;
  /**
   * What is to be logged, of the values behind what the function gave: one, or several by name. Default: a tensor as an image, with PyTorch's axes,
   * [C, H, W] or [H, W], or a batch of these, [N, C, H, W], as one picture.
   */
  readonly show?: (values: any) => Shown;
  /** Is undone first, on each tensor: with `image(imagenet)` inputs that were normalised are bytes again, [N, H, W, C]. */
  readonly format?: Format;
}

/**
 * Logs what `look` finds to see in a step, as `Step/Visualization`, or in that group where `show` gives several, by the number of the training step:
 *
 *     new LogVisualization(({ xs }) => xs.narrow(0, 0, 8), tensorBoard("runs/one"))
 *
 * `look` is given the step with its references, and gives a reference to a tensor, or several by name; not async. They travel with the step.
 */
export class LogVisualization extends CallbackObject {
  constructor(
    look: (step: StepState) => AnyRef | Measured,
    backends: Backends,
    { freq = 100, show, format }: LogVisualizationOptions = {},
  ) {
    if (typeof look !== "function" || isReference(look))
      throw new TorchwireError(
        "MISUSE",
        `LogVisualization: ${described(look)} is no function of the step: ({ xs }) => xs[0]`,
      );
    const all = backendsFor("LogVisualization", backends, show === undefined ? "image" : undefined);
    const isDue = every("LogVisualization", freq);
    let learner: Trainer | undefined;
    const undone = (reference: unknown): object | number =>
      format === undefined || typeof reference === "number"
        ? (reference as object | number)
        : ofBatch(format).fromTorch(reference as AnyRef, { worker: learner!.worker, dtype: "uint8" });
    super(
      callback({
        name: "LogVisualization",
        phase: AbstractTrainingPhase,
        access: { step: "use", state: { history: "read" } },
        init: (given) => {
          learner = given;
        },
        measure: ({ step }) => {
          if (!isDue()) return {};
          const seen: unknown = look(step);
          if (isReference(seen)) return { [NAMED]: undone(seen) };
          if (typeof seen !== "object" || seen === null || typeof (seen as { then?: unknown }).then === "function")
            throw new TorchwireError(
              "MISUSE",
              `LogVisualization: the function gave ${described(seen)}; it is to give a reference, or several by name, and not to be async`,
            );
          return Object.fromEntries(Object.entries(seen).map(([name, one]) => [NAMED + name, undone(one)]));
        },
        observe: {
          stepEnd: ({ phase, state, values }) => {
            // There is a loss, too.
            const seen = Object.entries(values).filter(([name]) => name.startsWith(NAMED));
            if (seen.length === 0) return;
            const at = state.history[phase.name]!.steps;
            const named = seen.map(([name, value]) => [name.slice(NAMED.length), value as unknown] as const);
            const asked = seen[0]![0] === NAMED ? named[0]![1] : Object.fromEntries(named);
            const shown = show === undefined ? pictures(asked, format === undefined ? "CHW" : "HWC") : show(asked);
            if (typeof shown !== "number" && (typeof shown !== "object" || shown === null))
              throw new TorchwireError(
                "MISUSE",
                `LogVisualization: \`show\` gave ${described(shown)}; it is to give one of Loggables, a number, or several of these by name`,
              );
            const record = isOne(shown)
              ? { group: ["Step"], at, values: { Visualization: shown } }
              : { group: ["Step", "Visualization"], at, values: shown };
            for (const backend of all) backend.log(record);
          },
        },
      }),
    );
  }
}

/** Before the names of what is seen; alone where it has none. */
const NAMED = "seen ";

const isOne = (shown: Shown): shown is Loggable | number =>
  typeof shown === "number" || typeof (shown as Partial<Loggable>).kind === "string";

function pictures(seen: unknown, axes: "CHW" | "HWC"): Loggable | { readonly [name: string]: Loggable } {
  const picture = (value: unknown): Loggable => {
    if (isNDArray(value)) return Loggables.image(value, { axes });
    throw new TorchwireError(
      "MISUSE",
      `LogVisualization: ${described(value)} is no image: say by \`show\` what is to be logged of it`,
    );
  };
  if (isNDArray(seen) || typeof seen !== "object" || seen === null) return picture(seen);
  return Object.fromEntries(Object.entries(seen).map(([name, value]) => [name, picture(value)]));
}
