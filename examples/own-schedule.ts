/**
 * A schedule of your own: a function of the step, counted from 1, and of the length of the run.
 *
 * This one rises quickly, stays, and falls to 0 in the last third: "warm-up, stable, decay". With a constant rate the
 * weights jump about the minimum until the end; with a falling rate they settle there.
 *
 *     npx tsx --conditions=torchwire-source examples/own-schedule.ts [training images, 6000 by default, 60000 at most]
 */
import {
  accuracy,
  crossEntropy,
  DataLoader,
  image,
  Learner,
  Metrics,
  mnist,
  Scheduler,
  sgd,
  spawnWorker,
} from "torchwire";
import { plot } from "torchwire/schedules";
import type { Schedule } from "torchwire/schedules";
import { readDigits } from "./digits.ts";

/** A trapezoid. */
const warmUpStableDecay =
  (top: number): Schedule =>
  (t, run) => {
    const steps = run!.steps!;
    return top * Math.min(1, t / (0.05 * steps), (steps - t + 1) / (steps / 3));
  };
console.log(plot(warmUpStableDecay(0.03), { steps: 300, height: 6 }));

const training = await readDigits("training", Number(process.argv[2] ?? 6000));
const test = await readDigits("test", 2000);

await using worker = await spawnWorker({ seed: 0 });
const torch = worker.import("torch");
const { nn } = torch;

/** The loss on the test images after three epochs. Only the schedule differs from call to call. */
async function lossWith(lr: Schedule): Promise<number> {
  torch.manual_seed(0);
  const model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 10));
  const learner = new Learner(model, crossEntropy(), {
    data: {
      training: new DataLoader(training, { batchSize: 16, shuffle: true }),
      validation: new DataLoader(test, { batchSize: 500 }),
    },
    input: image(mnist),
    optimizer: sgd({ momentum: 0.9 }),
    callbacks: [new Metrics(accuracy), new Scheduler({ lr })],
  });
  const { history } = await learner.fit(3);
  return history["validation"]!["loss"]!.at(-1)!.value;
}

const falling = await lossWith(warmUpStableDecay(0.03));
const constant = await lossWith(() => 0.03);
console.log(
  `\nloss: ${falling.toFixed(3)} as it rises and falls, ${constant.toFixed(3)} at the same rate all the time`,
);
