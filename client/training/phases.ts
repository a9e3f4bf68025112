/**
 * A phase says what a step is. Derive your own from the abstract classes: everything that goes by phase then treats it
 * alike.
 */
import type { ContextOptions } from "../../bridge/log/context.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { BatchLike } from "../data/types.ts";
import type { Step, StepGroup } from "./events.ts";
import type { Trainer } from "./trainer.ts";
import { closureFor } from "./closure.ts";

export abstract class Phase {
  /** The name that history and metrics have in the state, and that is printed. */
  abstract readonly name: string;
  /** The part of the learner's data that it goes through. */
  abstract readonly data: "training" | "validation";

  /** The worker's ambient state in its steps. */
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

  /** Keeps every bit of the training as it is. */
  override context({ modules }: Trainer): ContextOptions {
    return { mode: "no_grad", eval: modules, rng: "fork" };
  }
}

export class TrainingPhase extends AbstractTrainingPhase {
  readonly name = "training";

  // oxfmt-ignore
  step(learner: Trainer, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (step, handle) => {
      step.yhat = learner.forward(step.xs, step.ys);   await handle("lossBegin");
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
      step.yhat = learner.forward(step.xs, step.ys);   await handle("lossBegin");
      step.loss = learner.lossFn(step.yhat, step.ys);
    });
  }
}

/** The phase of `learner.validate`: callbacks must not act on its values. */
export class ValidationAlone extends ValidationPhase {}

/** A batch's share of the mean over its group, which is the sum of the shares. */
const share = (loss: AnyRef, { size }: StepGroup): AnyRef => (size === 1 ? loss : loss.div(size));
