/** Phases of one's own: what metrics see of their steps. */
import { beforeAll, expect, test } from "vitest";
import {
  AbstractTrainingPhase,
  accuracy,
  Learner,
  metric,
  Metrics,
  mse,
  Recorder,
  TrainingPhase,
  type AnyRef,
  type BatchLike,
  type Step,
  type Worker,
} from "torchwire";
import type { MetricValue } from "torchwire/callbacks";
import type { Metric } from "torchwire/metrics";
import { warmWorker } from "../../worker.ts";

declare module "torchwire" {
  interface StepKeys {
    penalty: AnyRef;
  }
}

let worker: Worker;
beforeAll(async () => {
  worker = await warmWorker();
});

/** No outputs are kept: a loss, and a part of it. */
class WithoutOutputs extends AbstractTrainingPhase {
  readonly name = "training";

  step(learner: Learner, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (step) => {
      step.penalty = step.xs.sum();
      step.loss = learner.lossFn(learner.model(step.xs), step.ys).add(step.penalty);
    });
  }
}

const batch = (xs: readonly number[]): BatchLike => {
  const array = { dtype: "float32", shape: [xs.length, 1], data: Float32Array.from(xs) } as const;
  return { xs: array, ys: array };
};

/** One epoch; the metric's values. */
async function measured(own: Metric, phase: AbstractTrainingPhase): Promise<readonly MetricValue[]> {
  const model = worker.import("torch").nn.Linear(1, 1);
  const learner = new Learner(model, mse(), {
    defaultCallbacks: false,
    callbacks: [new Recorder(), new Metrics(own)],
  });
  await learner.epoch(phase, [batch([1, 2, 3]), batch([4])]);
  return learner.state.metricsEpoch["training"]![own.name]!;
}

test("a metric sums up what the phase has left in the step", async () => {
  const penalty = metric("penalty", {
    update: (_yhat, _ys, step) => ({ penalty: step.penalty, samples: step.size! }),
    compute: ({ penalty, samples }) => penalty / samples,
  });
  expect(await measured(penalty, new WithoutOutputs())).toEqual([{ at: 1, value: 2.5 }]);
});

test("a metric of outputs says so where the phase keeps none", async () => {
  await expect(measured(accuracy, new WithoutOutputs())).rejects.toThrow(
    "metric accuracy: this phase has no step.yhat to measure",
  );
});

test("a step without a loss counts when the worker has run it", async () => {
  class Calls extends AbstractTrainingPhase {
    readonly name = "training";

    step(learner: Learner, batch: BatchLike): Promise<Step> {
      return learner.runStep(this, batch, async (step) => {
        // The third one raises, when two more may be on their way.
        (step.xs as unknown as AnyRef).view(2, 1);
      });
    }
  }
  const model = worker.import("torch").nn.Linear(1, 1);
  const learner = new Learner(model, mse(), { defaultCallbacks: false, callbacks: [new Recorder()] });
  const data = [batch([1, 2]), batch([1, 2]), batch([1, 2, 3]), batch([1, 2]), batch([1, 2])];
  await expect(learner.epoch(new Calls(), data)).rejects.toThrow(/^training epoch 1, step 2: .*invalid for input/);
  expect(learner.state.history["training"]).toMatchObject({ steps: 2, samples: 4 });
});

test("what a metric throws where there are outputs is told as it is", async () => {
  const update = (): never => {
    throw new Error("not today");
  };
  const failing = metric("failing", { update, compute: () => 0 });
  await expect(measured(failing, new TrainingPhase())).rejects.toThrow(/Metrics failed at measure.*not today/);
});
