/** `npm start`: sets up Python where needed, then trains ResNet-18 on all of MNIST. */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { ensurePython, spawnWorker } from "torchwire";
import { cut, readDigits, type Digits } from "../digits.ts";
import { gallery } from "./gallery.ts";
import { makeLearner, makeModel } from "./train.ts";

const help = `Trains torchvision's ResNet-18 on MNIST, saves it, loads it again, and predicts ten digits. From TypeScript.

    npm start -- [options]

    --epochs N        passes over the training images    (default 1)
    --batch-size N    images in a step                   (default 128)
    --lr X            Adam's learning rate               (default 0.001)
    --samples N       training images used               (default all 60,000)
    --test-samples N  test images used                   (default all 10,000)
    --seed N          of the weights and the order       (default 0)
    --device NAME     auto, cpu, cuda, cuda:N            (default auto)
    --shuffle-labels  train on labels in a wrong order: a control, accuracy must stay at chance
    --out FILE        where the weights go               (default mnist-resnet18.safetensors)
    --help
`;

const { values: options } = readOptions();
if (options.help) process.stdout.write(help);
else await main();

async function main(): Promise<void> {
  const epochs = number("epochs");
  const settings = { batchSize: number("batch-size"), lr: number("lr"), seed: number("seed") };
  const { training, test } = await readMnist();
  const python = await ensurePython();

  const worker = await spawnWorker({
    python: python.executable,
    device: options.device as "auto",
    seed: settings.seed,
  });
  try {
    console.log(
      `torch ${worker.versions["torch"]} on ${worker.device}; ${training.ys.shape[0]} training images, ${test.ys.shape[0]} test images`,
    );
    const learner = makeLearner(makeModel(worker), { training, test }, settings);
    const report = await learner.fit(epochs);
    if (report.status !== "completed") console.log(`The fit was ${report.status}: ${report.reason}`);

    const out = resolve(options.out);
    await learner.save(out);
    console.log(`The weights are in ${options.out}`);

    // An untrained model: everything it knows comes from the file.
    const loaded = makeLearner(makeModel(worker), { training, test }, settings);
    await loaded.load(out);
    const ten = cut(test, 0, Math.min(10, test.ys.data.length));
    const predictions = await loaded.predict(ten.xs, { topK: 1 });
    process.stdout.write(gallery(ten, predictions));
  } finally {
    await worker.close();
  }
}

async function readMnist(): Promise<{ training: Digits; test: Digits }> {
  const count = (name: "samples" | "test-samples"): number | undefined =>
    options[name] === undefined ? undefined : number(name);
  const training = await readDigits("training", count("samples"));
  const test = await readDigits("test", count("test-samples"));
  if (!options["shuffle-labels"]) return { training, test };
  // Each image gets the label of another one. Each label stays as frequent, but there is nothing to learn.
  const labels = training.ys.data as Uint8Array;
  const moved = labels.map((_, i) => labels[(i * 7919 + 104_729) % labels.length]!);
  return { training: { ...training, ys: { ...training.ys, data: moved } }, test };
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        epochs: { type: "string", default: "1" },
        "batch-size": { type: "string", default: "128" },
        lr: { type: "string", default: "0.001" },
        samples: { type: "string" },
        "test-samples": { type: "string" },
        seed: { type: "string", default: "0" },
        device: { type: "string", default: "auto" },
        "shuffle-labels": { type: "boolean", default: false },
        out: { type: "string", default: "mnist-resnet18.safetensors" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (error) {
    return stop((error as Error).message);
  }
}

function number(name: "epochs" | "batch-size" | "lr" | "samples" | "test-samples" | "seed"): number {
  const text = options[name] ?? "";
  const value = Number(text);
  const fits = name === "lr" ? value >= 0 : Number.isSafeInteger(value) && value >= (name === "seed" ? 0 : 1);
  return text.trim() !== "" && Number.isFinite(value) && fits ? value : stop(`--${name} cannot be "${text}"`);
}

function stop(message: string): never {
  process.stderr.write(`${message}\n\n${help}`);
  process.exit(2);
}
