/** Phases: what a step is. Derive one's own from the abstract classes, and everything that goes by phase treats it alike. */
import type { ContextOptions } from "../../bridge/log/context.ts";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { kw } from "../../bridge/reference/kw.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { BatchLike, Inputs } from "../data/types.ts";
import type { Step, StepGroup } from "./events.ts";
import type { Trainer } from "./trainer.ts";
import { closureFor } from "./closure.ts";

export abstract class Phase {
  /** Under which name history and metrics are kept, and which is printed. */
  abstract readonly name: string;
  /** Which of the learner's data it goes through. */
  abstract readonly data: "training" | "validation";

  /** Ambient state of the worker in its steps. */
  context(_learner: Trainer): ContextOptions | undefined {
    return undefined;
  }

  /** Runs one batch, by `learner.runStep`. */
  abstract step(learner: Trainer, batch: BatchLike): Promise<Step>;
}

export abstract class AbstractTrainingPhase extends Phase {
  readonly data = "training";
}

export abstract class AbstractValidationPhase extends Phase {
  readonly data = "validation";

  /** Nothing that happens here changes a bit of the training. */
  override context({ modules }: Trainer): ContextOptions {
    return { mode: "no_grad", eval: modules, rng: "fork" };
  }
}

export class TrainingPhase extends AbstractTrainingPhase {
  readonly name = "training";

  // oxfmt-ignore
  step(learner: Trainer, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (step, handle) => {
      step.yhat = forward(learner.model, step.xs);     await handle("lossBegin");
      step.loss = learner.lossFn(step.yhat, step.ys);  await handle("backwardBegin");
      if (step.group.isFirst) learner.optimizer.zero_grad();
      learner.backward(share(step.loss, step.group));  await handle("backwardEnd");
      if (step.group.isLast) learner.update(closureFor(learner, step));
    });
  }
}

export class ValidationPhase extends AbstractValidationPhase {
  readonly name = "validation";

  // oxfmt-ignore
  step(learner: Trainer, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (step, handle) => {
      step.yhat = forward(learner.model, step.xs);     await handle("lossBegin");
      step.loss = learner.lossFn(step.yhat, step.ys);
    });
  }
}

/** The phase of `learner.validate`. Its results are only shown: nothing depends on them. */
export class ValidationAlone extends ValidationPhase {}

/** `model(x)`, `model(a, b)` of an array, `model(name=a, …)` of a record. */
export function forward(model: AnyRef, xs: Inputs): AnyRef {
  if (typeof model !== "function")
    throw new TorchwireError(
      "MISUSE",
      "the learner has several models: write a phase that says how they work together, and fit with { phases: … }",
    );
  if (Array.isArray(xs)) return model(...(xs as unknown[]));
  return typeof xs === "function" ? model(xs) : model(kw(xs));
}

/** The mean over a group is the sum of its batches' shares. */
const share = (loss: AnyRef, { size }: StepGroup): AnyRef => (size === 1 ? loss : loss.div(size));
