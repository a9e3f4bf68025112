/**
 * A run that can be stopped at any moment, and goes on: by Ctrl-C, or by `kill -9` and one of its two numbers from another
 * terminal. If the worker was killed, it goes on by itself; if the program was, start it again as it is. However often it
 * was stopped, the last line is the same: the hash of the weights of a run that nobody disturbed.
 *
 *     npx tsx --conditions=torchwire-source examples/resume.ts [folder, runs/digits by default] [training images, 30000]
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  accuracy,
  adamW,
  crossEntropy,
  DataLoader,
  image,
  kw,
  Learner,
  Metrics,
  mnist,
  oneCycle,
  Scheduler,
  withWorker,
} from "torchwire";
import { readDigits } from "./digits.ts";

const [folder = "runs/digits", images = "30000"] = process.argv.slice(2);
const training = await readDigits("training", Number(images));
const test = await readDigits("test", 2000);

// The same seed each time: the checkpoint has the random numbers that were drawn since.
await withWorker({ seed: 0, deterministic: true, restarts: 3 }, async (worker) => {
  console.log(`process ${process.pid}, worker ${worker.pid}`);
  const { nn } = worker.import("torch");
  const model = nn.Sequential(
    nn.Conv2d(1, 16, 3, kw({ stride: 2 })), // 28 by 28 pixels become 13 by 13
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, kw({ stride: 2 })), // 6 by 6
    nn.ReLU(),
    nn.Flatten(),
    nn.Dropout(0.25),
    nn.Linear(32 * 6 * 6, 10),
  );

  const learner = new Learner(model, crossEntropy(), {
    data: {
      training: new DataLoader(training, { batchSize: 64, shuffle: true }),
      validation: new DataLoader(test, { batchSize: 500 }),
    },
    input: image(mnist),
    optimizer: adamW(),
    callbacks: [new Metrics(accuracy), new Scheduler({ lr: oneCycle("run", 5e-3) })],
  });

  const report = await learner.fit(5, { resume: { folder, every: 50 } });

  if (report.resumed) console.log(`resume ${report.resumed.times}, after step ${report.resumed.steps}`);
  if (report.status === "completed") {
    const weights = join(folder, "digits.safetensors");
    await learner.save(weights);
    console.log(
      `weights ${createHash("sha256")
        .update(await readFile(weights))
        .digest("hex")}`,
    );
  }
});
