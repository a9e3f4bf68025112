/** Learners, metrics, data and what follows. Each line ends in the one error it must give. */
import {
  accuracy,
  AbstractTrainingPhase,
  adamW,
  crossEntropy,
  DataLoader,
  image,
  imageFolder,
  imagenet,
  Learner,
  metric,
  Metrics,
  MetricsPrinter,
  mse,
  ProgressPrinter,
  PyTorchBackend,
  Recorder,
  StopOnNaNLoss,
  TrainingPhase,
  type AnyRef,
  type Dataset,
  type NDArray,
} from "torchwire";
import { CustomCallback } from "torchwire/callbacks";
import { batches } from "torchwire/data";
import { sequence } from "torchwire/formats";
import { auc, f1, Metric, statefulMetric, topK, torchmetric } from "torchwire/metrics";
import { ownLoss } from "torchwire/losses";
import { outputs } from "torchwire/model";
import { worker } from "../worker.ts";

const torch = worker.import("torch");
const F = torch.nn.functional;
const model = torch.nn.Linear(4, 2);
declare const array: NDArray;
declare const dataset: Dataset;
declare const learner: Learner;

// Metrics.
metric("late", { update: async (yhat) => ({ sum: yhat.sum() }), compute: ({ sum }) => sum }); // TS2322 an async update
metric("bare", { update: (yhat) => yhat, compute: ({ sum }) => sum }); // TS2322 an update without names
metric("text", { update: () => ({ sum: "1" }), compute: ({ sum }) => sum }); // TS2322 a string to be summed up
metric("slow", { update: () => ({}), compute: async () => 1 }); // TS2322 an async compute
metric("half", { update: () => ({}) }); // TS2741 without compute
metric("odd", { update: () => ({}), compute: () => 1, phases: TrainingPhase }); // TS2561 a misspelt option
metric(accuracy); // TS2554 a metric of a metric
new Metrics([accuracy]); // TS2739 an array of metrics
new Metrics((yhat: AnyRef) => yhat.sum()); // TS2345 a function as a metric
new Metrics("accuracy"); // TS2345 the name of a metric
new Metrics(f1); // TS2345 a metric that was not called
new Metric(() => "1"); // TS2322 a function that gives a string
new Metric((yhat) => yhat.mean(), { mean: "batches" }); // TS2322 a mean that there is not
f1({ average: "mean" }); // TS2322 an average that there is not
f1({ k: 3 }); // TS2353 an option of another metric
auc({ mean: "steps" }); // TS2353 a mean of steps that have no values
topK("3"); // TS2345 a string as a number
torchmetric(worker.import("torch").nn); // TS2554 without a name
statefulMetric("own", { start: () => ({ compute: () => 1 }) }); // TS2741 without add
statefulMetric("own", { start: () => ({ add: () => 1, compute: () => "1" }) }); // TS2322 a string as a value

// Learners.
new Learner(model); // TS2554 without a loss
new Learner(model, crossEntropy); // TS2345 a loss that was not called
new Learner(model, "mse"); // TS2345 the name of a loss
new Learner(model, async (yhat, ys) => F.mse_loss(yhat, ys)); // TS2345 an async loss
new Learner(model, async (yhat: AnyRef, ys: AnyRef) => await F.mse_loss(yhat, ys).item()); // TS2345 a loss that awaits its value
new Learner(model, mse(), { optimiser: adamW() }); // TS2561 a misspelt option
new Learner(model, mse(), { callback: [] }); // TS2561 another misspelt option
new Learner(model, mse(), { lr: 0.1 }); // TS2353 an option of the optimizer
new Learner(model, mse(), { optimizer: adamW }); // TS2322 an optimizer that was not called
new Learner(model, mse(), { optimizer: "adamW" }); // TS2322 the name of an optimizer
new Learner(model, mse(), { optimizer: adamW({ lr: "1e-3" }) }); // TS2322 a string as a learning rate
new Learner(model, mse(), { optimizer: adamW({ weightdecay: 0 }) }); // TS2561 a misspelt option of the optimizer
new Learner(model, mse(), { optimizer: async (m) => torch.optim.SGD(m.parameters()) }); // TS2322 an async optimizer
new Learner(model, mse(), { input: imagenet }); // TS2739 the numbers of a format instead of the format
new Learner(model, mse(), { input: image }); // TS2322 a format that was not called
new Learner(model, mse(), { input: "image" }); // TS2322 the name of a format
new Learner(model, mse(), { callbacks: new Recorder() }); // TS2740 one callback as several
new Learner(model, mse(), { callbacks: [Recorder] }); // TS2740 a class instead of a callback
new Learner(model, mse(), { callbacks: [accuracy] }); // TS2740 a metric as a callback
new Learner(model, mse(), { callbacks: [{ name: "bare", on: {} }] }); // TS2740 a literal without callback()
new Learner(model, mse(), { window: "3" }); // TS2322 a string as a number
new Learner(model, mse(), { defaultCallbacks: [] }); // TS2322 an array as a boolean
new Learner(model, mse(), { data: new DataLoader(dataset, { batchSize: 1 }) }); // TS2559 data without saying which
new Learner(model, mse(), { data: { train: [] } }); // TS2353 misspelt data
new Learner(model, mse(), { data: { training: dataset } }); // TS2322 a data set without batches
new Learner(model, mse(), { data: { training: array } }); // TS2322 an array without batches
new Learner(model, mse(), { data: { training: [array, array] } }); // TS2322 one batch as data
new Learner(model, mse(), { data: { training: [{ x: array, y: array }] } }); // TS2322 batches of other names
new Learner(model, mse(), { data: { training: [[array]] } }); // TS2322 batches without targets
new Learner(model, mse(), { data: { training: 3 } }); // TS2322 a number as data
learner.worker = worker; // TS2540 another worker
learner.callbacks.push(new Recorder()); // TS2339 adding a callback past the learner
learner.steps; // TS2551 what a learner does not have

// Fits and phases.
learner.fit(); // TS2554 without the number of epochs
learner.fit("10"); // TS2345 a string as a number
learner.fit(1, { epochs: 2 }); // TS2353 an option that fit does not have
learner.fit(1, { signal: new AbortController() }); // TS2740 what holds a signal
learner.fit(1, { phases: { training: TrainingPhase } }); // TS2739 the class of a phase
learner.fit(1, { phases: { training: "training" } }); // TS2322 the name of a phase
learner.fit(1, { phases: { train: new TrainingPhase() } }); // TS2353 a misspelt phase
learner.fit(1, { data: { training: dataset } }); // TS2322 a data set without batches
learner.epoch("training"); // TS2345 the name of a phase as one
learner.epoch(new TrainingPhase(), [array]); // TS2345 arrays as batches
learner.runStep(new TrainingPhase(), [array, array], (step) => step.loss); // TS2739 a body that is not async
new AbstractTrainingPhase(); // TS2511 a phase without a step
export const status: "done" = (await learner.fit(1)).status; // TS2322 a status that is none
export const first = learner.fit(1).status; // TS2339 a report that was not awaited
learner.addCallback(Recorder); // TS2740 a class instead of a callback
learner.getCallback(new Recorder()); // TS2769 a callback instead of its class
learner.getCallback(Recorder).name; // TS2532 a callback that may not be there
for (const event of learner.events()) console.log(event); // TS2488 for … of without await
for await (const event of learner.events()) console.log(event.loss); // TS2339 a loss of every event

// The uses of a learner after training.
learner.predict(); // TS2554 nothing
learner.predict("cat.jpg"); // TS2345 the name of a file
learner.predict(array, { topk: 3 }); // TS2769 misspelt
learner.predict(array, { classes: "cat" }); // TS2769 one class as several
learner.predict(array, { topK: "3" }); // TS2769 a string as a number
learner.predict(array, { select: () => 3 }); // TS2769 no reference
learner.predict(array, { select: async (y) => y }); // TS2769 an async function
new Learner(model, mse(), { output: "logits" }); // TS2322 a name
ownLoss({ target: "labels" }); // TS2561 misspelt
export const label = (await learner.predict(array))[0]!.label; // TS7053 labels that were not asked for
export const shape = (await learner.predict(array, { topK: 1 })).shape; // TS2339 an array that was not asked for
outputs(array, model); // TS2739 the wrong way round
learner.save(); // TS2554 nowhere
learner.save("x.safetensors", { strict: true }); // TS2353 an option of load
learner.load("x.safetensors", { strikt: false }); // TS2561 misspelt
learner.load(["x.safetensors"]); // TS2345 several files
learner.summary({ inputs: [1, 4] }); // TS2561 misspelt

// Callbacks that are included.
new StopOnNaNLoss(true); // TS2559 a boolean as options
new StopOnNaNLoss({ later: true }); // TS2561 misspelt
new ProgressPrinter(process.stderr); // TS2345 an output as options
new ProgressPrinter({ output: console.log }); // TS2322 a function as an output
new MetricsPrinter({ out: process.stdout }); // TS2353 misspelt
new PyTorchBackend("cuda"); // TS2559 a device as options
new PyTorchBackend({ clipGradNorm: "1" }); // TS2322 a string as a number
new PyTorchBackend({ acumulate: 2 }); // TS2561 misspelt

// Data and formats.
new DataLoader(dataset); // TS2554 without a batch size
new DataLoader(dataset, { batch_size: 4 }); // TS2769 PyTorch's own spelling
new DataLoader(dataset, { batchSize: 4, shuffle: 3 }); // TS2769 a seed that does not say so
new DataLoader(dataset, { batchSize: 4, numWorkers: 2 }); // TS2769 PyTorch's own name
new DataLoader({ length: 3, get: () => "a" }, { batchSize: 4 }); // TS2769 samples that are none
new DataLoader({ length: 3 }, { batchSize: 4 }); // TS2769 a data set without get
batches({ xs: array }, { batchSize: 4 }); // TS2741 without targets
imageFolder("photos", { size: "224" }); // TS2322 a string as a size
imageFolder("photos", { size: 224, onCorrupt: "ignore" }); // TS2322 what is not to be had
imageFolder("photos", { sise: 224 }); // TS2353 misspelt
imageFolder("photos", { size: 224 }).classes; // TS2339 a folder that was not awaited
(await imageFolder("photos", { size: 224 })).split("0.8"); // TS2345 a string as a fraction
image({ ...imagenet, channel: 3 }); // TS2561 misspelt
image(0.5); // TS2559 a number as options
sequence(true); // TS2559 a boolean as options
new CustomCallback("epochEnd", ({ epoch }) => epoch.toFixed(1), { name: 3 }); // TS2322 a number as a name
