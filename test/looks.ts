/**
 * All exports of the package, and all members of its learner, loaders and worker. They either look at a training, and
 * must change nothing between two fits, or are meant to change it. Put each new one into one of these lists:
 * test/client/learner/learner-neutral.test.ts fails until you do.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  Checkpointer,
  DataLoader,
  EarlyStopping,
  freeze,
  loadWeights,
  lrFind,
  oneCycle,
  py,
  saveWeights,
  split,
  unfreeze,
  type Learner,
  type NDArray,
  type Worker,
} from "torchwire";
import { SWA } from "torchwire/callbacks";
import { batches, classWeights } from "torchwire/data";
import { classify, outputs, summary } from "torchwire/model";
import { plot } from "torchwire/schedules";
import type { AnyRef } from "../bridge/types/core.ts";
import { untyped } from "./observed.ts";

export interface Place {
  readonly worker: Worker;
  readonly learner: Learner<AnyRef>;
  readonly xs: NDArray;
  /** A DataLoader in the worker, with a generator. */
  readonly theirs: AnyRef;
  readonly folder: string;
}

/** By "class.member" or the name of an export: a use that must leave no trace. */
export const looks: { readonly [name: string]: (place: Place) => unknown } = {
  "Learner.predict": async ({ learner, xs }) => {
    await learner.predict(xs);
    await learner.predict(xs, { topK: 1 });
    await Promise.all([1, 2, 3].map(() => learner.predict(xs, { together: true })));
    await learner.predict(learner.data.training as never);
  },
  "Learner.validate": async ({ learner, theirs }) => {
    await learner.validate();
    await learner.validate(learner.data.training);
    await learner.validate(theirs);
  },
  "Learner.summary": ({ learner, xs }) => learner.summary({ input: [2, ...xs.shape.slice(3), 28, 28] }),
  "Learner.save": ({ learner, folder }) => learner.save(join(folder, "same.safetensors")),
  "Learner.load": ({ learner, folder }) => learner.load(join(folder, "same.safetensors")),
  "Learner.toPython": ({ learner, folder }) => learner.toPython(2, { folder: join(folder, "as-python") }),
  "Learner.explain": ({ learner }) => learner.explain(),
  "Learner.events": async ({ learner }) => {
    const controller = new AbortController();
    const events = learner.events({ signal: controller.signal });
    const next = events.next();
    await learner.validate();
    await next;
    controller.abort();
  },
  "Learner.model": ({ learner }) => py.js(learner.model[0].weight.sum().item()),
  "Learner.modules": ({ learner }) => learner.modules,
  "Learner.backend": ({ learner }) => learner.backend.device,
  "Learner.window": ({ learner }) => learner.window,
  "Learner.callbacks": ({ learner }) => learner.callbacks,
  "Learner.getCallback": ({ learner }) => learner.getCallback(SWA),
  "Learner.lossFn": ({ learner, worker }) =>
    py.js(learner.lossFn(untyped(worker, "torch").zeros(2, 10), untyped(worker, "torch").zeros(2).long()).item()),
  "DataLoader.length": ({ learner }) => (learner.data.training as DataLoader).length,
  "DataLoader.samples": ({ learner }) => (learner.data.training as DataLoader).samples,
  "DataLoader.memory": ({ learner }) => (learner.data.training as DataLoader).memory,
  "DataLoader.plan": ({ learner }) => (learner.data.training as DataLoader).plan.orderOf(0),
  "DataLoader.position": ({ learner }) => (learner.data.training as DataLoader).position,
  "DataLoader.on": async ({ learner, worker }) => {
    for await (const _ of (learner.data.training as DataLoader).clone().on(worker)) void _;
  },
  "DataLoader.clone": async ({ learner }) => {
    for await (const _ of (learner.data.training as DataLoader).clone());
  },
  "AveragedWeights.model": ({ learner, xs }) => outputs(learner.getCallback(SWA)!.model, xs),
  "AveragedWeights.options": ({ learner }) => learner.getCallback(SWA)!.options,
  "AveragedWeights.isShown": ({ learner }) => learner.getCallback(SWA)!.isShown,
  "AveragedWeights.updateBatchNorm": async ({ learner, theirs }) => {
    await learner.getCallback(SWA)!.updateBatchNorm();
    await learner.getCallback(SWA)!.updateBatchNorm(theirs);
  },
  "Hyper.get": ({ learner }) => learner.hyper.get("lr"),
  "Hyper.groups": ({ learner }) => learner.hyper.groups(),
  "Hyper.writer": ({ learner }) => learner.hyper.writer(),
  "Checkpointer.best": ({ learner }) => learner.getCallback(Checkpointer)!.best,
  "Checkpointer.load": ({ learner }) => learner.getCallback(Checkpointer)!.load(learner.state.checkpoints.at(-1)),
  "EarlyStopping.best": ({ learner }) => learner.getCallback(EarlyStopping)!.best,
  "EarlyStopping.options": ({ learner }) => learner.getCallback(EarlyStopping)!.options,
  "EarlyStopping.toString": ({ learner }) => String(learner.getCallback(EarlyStopping)),
  "Worker.import": ({ worker }) => worker.import("torch"),
  "Worker.module": async ({ worker, folder }) => {
    const file = join(folder, "looked_at.py");
    await writeFile(file, "answer = 42\n");
    await worker.module(file).answer;
  },
  "Worker.function": ({ worker }) =>
    py.js(
      worker
        .function((x) => x.sum())(untyped(worker, "torch").ones(2))
        .item(),
    ),
  "Worker.calls": ({ worker }) => worker.calls,
  "Worker.pace": ({ worker }) => worker.pace().add(py.js(untyped(worker, "torch").ones(2).sum().item())),
  "Worker.stats": ({ worker }) => worker.stats(),
  "Worker.liveness": ({ worker }) => worker.liveness(),
  "Worker.link": ({ worker }) => worker.link,
  "Worker.onLink": ({ worker }) => worker.onLink(() => undefined)(),
  "Worker.tensor": ({ worker, xs }) => py.ndarray(worker.tensor(xs)),
  "Worker.scope": ({ worker }) => worker.scope(() => py.js(untyped(worker, "torch").ones(2).sum().item())),
  "Worker.lane": ({ worker }) => worker.lane(() => py.js(untyped(worker, "torch").ones(2).sum().item())),
  "Worker.apart": ({ worker }) => worker.apart(() => void untyped(worker, "torch").ones(2).sum())[1](),
  "Worker.context": ({ worker, learner }) =>
    worker.context({ mode: "inference", eval: [learner.model], rng: "fork" }, () =>
      py.js(
        learner
          .model(untyped(worker, "torch").rand(2, 3, 28, 28))
          .sum()
          .item(),
      ),
    ),
  py: ({ learner }) =>
    Promise.all([
      py.ndarray(learner.model[0].weight),
      py.str(learner.model),
      py.js(py.at(learner.optimizer.state_dict(), "param_groups")),
    ]),
  lrFind: async ({ learner, theirs }) => {
    await lrFind(learner, { steps: 6 });
    await lrFind(learner, { steps: 6, data: theirs });
  },
  outputs: ({ learner, xs }) => outputs(learner.model, xs),
  classify: ({ learner, xs }) => classify(learner.model, xs),
  summary: ({ learner }) => summary(learner.model),
  saveWeights: ({ learner, folder }) => saveWeights(learner.model, join(folder, "same.safetensors")),
  loadWeights: ({ learner, folder }) => loadWeights(learner.model, join(folder, "same.safetensors")),
  freeze: ({ learner }) => unfreeze(freeze(learner.model)),
  unfreeze: ({ learner }) => unfreeze(learner.model),
  classWeights: () => classWeights([0, 1, 1]),
  plot: () => plot(oneCycle(10, 1)),
  split: ({ xs }) => split({ xs, ys: Array.from({ length: xs.shape[0]! }, () => 0) }, 0.5, { seed: 0 }),
  batches: ({ xs }) => [...batches({ xs, ys: xs }, { batchSize: 2, shuffle: { seed: 0 } })],
};

/** These are meant to change a training, or to end it. */
export const acts: readonly string[] = [
  ...["fit", "epoch", "runEpoch", "runStep", "forward", "backward", "update"].map((name) => `Learner.${name}`),
  ...["addCallback", "replaceCallback", "removeCallback", "setCallbacks", "track"].map((name) => `Learner.${name}`),
  "Hyper.set",
  "Hyper.write",
  "Hyper.scale",
  "Worker.close",
  "Worker.kill",
  "fineTune",
  "fitOneCycle",
];

/** These make something, or describe work to do, and know no existing learner. */
export const makes: readonly string[] = [
  "spawnWorker connectWorker withWorker ensurePython Worker EnvironmentError TorchwireError kw bfloat16 float16 fromBytes",
  "WorkerExitedError lend PythonError Learner AbstractTrainingPhase AbstractValidationPhase forward Phase",
  "TrainingPhase ValidationPhase CancelEpoch CancelFitting CancelStep CallbackError StepError callback Augment",
  "CutMix MixUp AveragedWeights EMA SWA CustomCallback Metrics MetricsPrinter ProgressPrinter PyTorchBackend",
  "Recorder StopOnNaNLoss accuracy auc confusionMatrix epochSeconds f1 meanAbsoluteError MeanLoss",
  "meanSquaredError metric Metric perplexity precision r2 recall rootMeanSquaredError SmoothLoss statefulMetric",
  "topK torchmetric batch cifar10 format image imagenet mnist same sequence video Hyper hyperparameter",
  "Hyperparameter Relative relative Scheduler ReduceOnPlateau oneCycle toNDArray fromWorker",
  "ArrayList list pad stack RowDataset rowDataset cacheOnDisk fromCsv fromJsonLines fromParquet loadDataset",
  "arrayDataset ArrayDataset Subset subset take imageFolder DataLoader balancedWeights readIdx readImages",
  "EarlyStopping Checkpointer SanityCheck SanityCheckError Traces throttle GarbageCollect Loggables csv jsonLines",
  "tensorBoard RunFolder LogHistograms LogHyperParams LogMetrics LogTraces LogVisualization chain clipNorm",
  "clipValue expDecay invDecay weightDecay descent momentum nesterov rmsProp adaMax adaGrad adaDelta amsGrad",
  "nAdam rAdam adadelta adafactor adagrad adam adamW adamax asgd lbfgs muon nadam radam rmsprop rprop sgd",
  "sparseAdam loss ownLoss mae huberLoss logitCrossEntropy logitBinaryCrossEntropy msle probabilityCrossEntropy",
  "binaryCrossEntropy klDivergence poissonLoss hingeLoss squaredHingeLoss diceCoeffLoss tverskyLoss",
  "binaryFocalLoss focalLoss siameseContrastiveLoss labelSmoothing l1 mse huber smoothL1 crossEntropy nll bce",
  "bceWithLogits klDiv poissonNll gaussianNll hingeEmbedding marginRanking cosineEmbedding tripletMargin",
  "tripletMarginWithDistance multiMargin multilabelMargin multilabelSoftMargin softMargin ctc anneal composed",
  "constant constantLR cosAnneal cosineAnnealingLR cosineAnnealingWarmRestarts cyclicLR exp exponentialLR interpolator",
  "inv linearLR loop multiStepLR oneCycleLR oneCycleMomentum poly polynomialLR shifted shortened sin sinDecay2 sinExp",
  "stateful step stepLR triangle triangleDecay2 triangleExp warmUp criterion disjunction gl invalidValue never",
  "numberLimit numberSinceBest or patience pq stoppingTime threshold timeLimit warmup",
]
  .join(" ")
  .split(" ");
