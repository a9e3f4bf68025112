/**
 * A phase of your own: a small network learns from a large one and never sees a label (Hinton, Vinyals and Dean, 2015).
 *
 * The teacher is trained with labels, as usual. The student hears only how likely the teacher finds each digit: "an 8,
 * but it might be a 3". Its pictures do not contain a single 3, and still it recognises one.
 *
 *     npx tsx --conditions=torchwire-source examples/distillation.ts [training images, 6000 by default, 60000 at most]
 */
import { AbstractTrainingPhase, accuracy, adamW, crossEntropy, DataLoader, image, Learner, Metrics } from "torchwire";
import { mnist, spawnWorker } from "torchwire";
import type { BatchLike, Dataset, Network, Ref, Step } from "torchwire";
import { subset, type ArrayRows } from "torchwire/data";
import { readDigits } from "./digits.ts";

const digits = await readDigits("training", Number(process.argv[2] ?? 6000));
const test = await readDigits("test", 2000);
const rows = (labels: Iterable<unknown>, wanted: (digit: number) => boolean) =>
  Array.from(labels, Number).flatMap((digit, row) => (wanted(digit) ? [row] : []));
const without3 = subset(
  digits,
  rows(digits.ys.data, (digit) => digit !== 3),
);
const only3 = subset(
  test,
  rows(test.ys.data, (digit) => digit === 3),
);

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");
const network = (width: number) =>
  nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, width), nn.ReLU(), nn.Linear(width, 10));
const learnerOf = (model: Ref<Network>, training: Dataset | ArrayRows) =>
  new Learner(model, crossEntropy(), {
    data: {
      training: new DataLoader(training, { batchSize: 64, shuffle: true }),
      validation: new DataLoader(test, { batchSize: 500 }),
    },
    input: image(mnist),
    optimizer: adamW({ lr: 1e-3 }),
    callbacks: [new Metrics(accuracy)],
  });

const teacher = network(512);
await learnerOf(teacher, digits).fit(3);

/** Scores are divided by this, so that small probabilities count too. */
const TEMPERATURE = 8;

/**
 * The loss of a step is the distance between the student's probabilities and the teacher's; it does not use `step.ys`.
 */
class Distillation extends AbstractTrainingPhase {
  readonly name = "training";

  step(learner: Learner, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (step, handle) => {
      const told = teacher(step.xs).detach().div(TEMPERATURE).softmax(1);
      step.yhat = learner.model(step.xs);
      await handle("lossBegin");
      step.loss = learner.lossFn(step.yhat.div(TEMPERATURE), told);
      await handle("backwardBegin");
      learner.optimizer.zero_grad();
      learner.backward(step.loss);
      await handle("backwardEnd");
      learner.update();
    });
  }
}

const student = learnerOf(network(128), without3);
await student.fit(10, { phases: { training: new Distillation() } });
const found = await student.validate(new DataLoader(only3, { batchSize: 500 }));
console.log(`\nof the 3s, which it has never seen, the student knows ${(100 * found["accuracy"]!).toFixed(1)} %`);
