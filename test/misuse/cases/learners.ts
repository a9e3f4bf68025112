import {
  accuracy,
  adamW,
  bceWithLogits,
  crossEntropy,
  DataLoader,
  freeze,
  Learner,
  metric,
  Metrics,
  mse,
  py,
  PyTorchBackend,
  Recorder,
  sgd,
  StopOnNaNLoss,
} from "torchwire";
import { SanityCheck } from "torchwire/callbacks";
import { loss } from "torchwire/losses";
import { topK } from "torchwire/metrics";
import { labels, ones, pairs, type Cases } from "../given.ts";

export const learners: Cases = {
  "a model that is no reference": () => new Learner("resnet18" as never, mse()), // <-
  "a loss that was not called": async ({ nn }) => {
    const options = { data: { training: pairs(1), validation: pairs(1) }, defaultCallbacks: false };
    await new Learner(nn.Linear(1, 1), crossEntropy as never, options).fit(1); // <-
  },
  "a loss by its name": ({ nn }) => new Learner(nn.Linear(1, 1), "mse" as never), // <-
  "an option of a learner that there is not": ({ learner }) => learner({ optimiser: sgd({ lr: 0.1 }) } as object), // <-
  "an option of a fit that there is not": ({ learner }) => learner({}).fit(1, { resumes: "runs/digits" } as object), // <-
  "a window of 0": ({ learner }) => learner({ window: 0 }), // <-
  "an optimizer by its name": ({ learner }) => learner({ optimizer: "adam" as never }), // <-
  "an option of an optimizer that does not exist": () => adamW({ learningRate: 1e-3 } as never), // <-
  "an option of a wrong kind": () => sgd({ lr: "0.1" as never }), // <-
  "a negative learning rate": async ({ nn, torch }) => {
    const options = { data: { training: pairs(1), validation: pairs(1) }, optimizer: sgd({ lr: -1 }) };
    const learner = new Learner(nn.Linear(1, 1), mse(), { ...options, defaultCallbacks: false }); // <-
    try {
      await learner.fit(1);
    } finally {
      // So that lane 0 has had its error.
      await torch.ones(1).catch(() => undefined);
    }
  },
  "a group without params": () => adamW({ groups: { head: { lr: 1e-2 } as never } }), // <-
  "a group whose params are no references": ({ nn }) => {
    const optimizer = adamW({ groups: { head: { params: (() => 3) as never } } });
    return new Learner(nn.Linear(1, 1), mse(), { optimizer }); // <-
  },
  "an option of a loss that does not exist": () => crossEntropy({ label_smoothing: 0.1 } as never), // <-
  "two metrics of one name": () => {
    const f1 = metric("f1", { update: () => ({}), compute: () => 1 });
    return new Metrics(f1, f1); // <-
  },
  "two callbacks of one name": ({ learner }) => learner({ callbacks: [new Recorder(), new Recorder()] }), // <-
  "an accumulation of 0": () => new PyTorchBackend({ accumulate: 0 }), // <-
  "epochs as text": async ({ learner }) => await learner().fit("10" as never), // <-
  "no training data": async ({ learner }) => await learner({ data: {} }).fit(1), // <-
  "no validation data": async ({ learner }) => await learner({ data: {} }).validate(), // <-
  "data that is a path": async ({ learner }) => await learner({ data: { training: "photos/" as never } }).fit(1), // <-
  "data that can be iterated only once": async ({ learner }) => {
    const data = pairs(2).values();
    await learner({ data: { training: data } }).fit(1); // <-
  },
  "data without batches": async ({ learner }) => await learner({ data: { training: [] } }).fit(1), // <-
  "a signal that is none": async ({ learner }) => await learner().fit(1, { signal: { aborted: false } as never }), // <-
  "two fits at once": async ({ learner }) => {
    const running = learner().fit(1);
    try {
      await learner().fit(1); // <-
    } finally {
      await running;
    }
  },
  "a loss that is NaN": async ({ learner }) => {
    const loss = (yhat: any, ys: any): any => yhat.sub(ys).log().mean().mul(Number.NaN);
    const { status, reason } = await learner({ loss, callbacks: [new Recorder(), new StopOnNaNLoss()] }).fit(1); // <-
    return `{ status: "${status}", reason: "${reason}" }`;
  },
  "a fit that its signal aborts": async ({ learner }) => {
    const { status, reason } = await learner().fit(1, { signal: AbortSignal.abort("enough") }); // <-
    return `{ status: "${status}", reason: "${reason}" }`;
  },
  "several models without a phase of their own": async ({ nn }) => {
    const models = { generator: nn.Linear(1, 1), critic: nn.Linear(1, 1) };
    const learner = new Learner(models, mse(), { data: { training: pairs(1) }, defaultCallbacks: false });
    await learner.fit(1); // <-
  },
  "xs and ys of different lengths": async ({ learner }) => {
    const data = [{ xs: ones(2, 1), ys: ones(3, 1) }];
    await learner({ data: { training: data } }).fit(1); // <-
  },
  "a batch that is none": async ({ learner }) => await learner({ data: { training: [ones(2, 1)] as never } }).fit(1), // <-
  "floats that may be images": async ({ learner }) => {
    const data = [{ xs: ones(2, 8, 8, 3), ys: labels(0, 1) }];
    await learner({ data: { training: data } }).fit(1); // <-
  },
  "a batch with another number of features": async ({ learner }) => {
    const data = [{ xs: ones(2, 3), ys: ones(2, 1) }];
    await learner({ data: { training: data } }).fit(1); // <-
  },
  "a label past the last output": async ({ learner, nn }) => {
    const data = [{ xs: ones(2, 1), ys: labels(1, 2) }];
    await learner({ model: nn.Linear(1, 2), loss: crossEntropy(), data: { training: data } }).fit(1); // <-
  },
  "labels that begin at 1": async ({ learner, nn }) => {
    const data = [{ xs: ones(3, 1), ys: labels(1, 2, 3) }];
    await learner({ model: nn.Linear(1, 3), loss: crossEntropy(), data: { training: data } }).fit(1); // <-
  },
  "a label that stands for none": async ({ learner, nn }) => {
    const data = [{ xs: ones(3, 1), ys: labels(0, 1, 255) }];
    await learner({ model: nn.Linear(1, 2), loss: crossEntropy(), data: { training: data } }).fit(1); // <-
  },
  "a batch of one under BatchNorm": async ({ learner, nn }) => {
    const model = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.Linear(2, 1));
    const data = [...pairs(1), { xs: ones(1, 1), ys: ones(1, 1) }];
    await learner({ model, data: { training: data } }).fit(1); // <-
  },
  "validation data that is empty": async ({ learner }) =>
    await learner({ data: { training: pairs(2), validation: [] } }).fit(1), // <-
  "targets that meet all outputs": async ({ learner }) => {
    const data = [{ xs: ones(4, 1), ys: ones(4) }];
    const own = (yhat: any, ys: any): any => yhat.sub(ys).pow(2).mean();
    await learner({ loss: own, data: { training: data }, callbacks: [new SanityCheck()] }).fit(1); // <-
  },
  "a loss whose weight is no number": async ({ learner }) => {
    const own = loss({ fn: (yhat) => yhat.mean(), weight: (() => "all") as never });
    await learner({ loss: own }).fit(1); // <-
  },
  "a loss without a weight": () => loss({ fn: (yhat: any) => yhat.mean() } as never), // <-
  "a loss that is not one number": async ({ learner }) => {
    const loss = (yhat: any, ys: any): any => yhat.sub(ys);
    await learner({ loss }).fit(1); // <-
  },
  "an async loss": async ({ learner }) => await learner({ loss: async (yhat: any) => yhat.mean() }).fit(1), // <-
  "a loss without return": async ({ learner }) => await learner({ loss: () => undefined }).fit(1), // <-
  "everything frozen": async ({ learner, nn }) => await learner({ model: freeze(nn.Linear(1, 1)) }).fit(1), // <-
  "a metric that is async": async ({ learner }) => {
    const f1 = metric("f1", { update: (async () => ({ tp: 1 })) as never, compute: () => 1 });
    await learner({ callbacks: [new Recorder(), new Metrics(f1)] }).fit(1); // <-
  },
  "a metric that waits for a value": async ({ learner }) => {
    const long = metric("long", {
      update: (_, ys) => ({ samples: py.len(ys).then((n) => 2 * n) }),
      compute: ({ samples }) => samples,
    });
    await learner({ callbacks: [new Recorder(), new Metrics(long)] }).fit(1); // <-
  },
  "a metric that PyTorch cannot compute": async ({ learner }) => {
    const odd = metric("odd", { update: (yhat) => ({ sum: yhat.argmax(7) }), compute: ({ sum }) => sum }); // <-
    await learner({ callbacks: [new Recorder(), new Metrics(odd)] }).fit(1);
  },
  "fit on a closed worker": async ({ closedLearner }) => {
    await closedLearner.fit(1); // <-
  },
  "predict with another number of features": async ({ learner }) => await learner().predict(ones(2, 3)), // <-
  "predict with what is no array": async ({ learner }) => await learner().predict(3 as never), // <-
  "predict with names for other classes": async ({ learner, nn }) => {
    const model = nn.Linear(1, 3);
    await learner({ model }).predict(ones(2, 1), { classes: ["cat", "dog"] }); // <-
  },
  "predict with classes of what has numbers": async ({ learner }) => {
    await learner().predict(ones(2, 1), { topK: 1 }); // <-
  },
  "predict together with what is no option of it": async ({ learner }) => {
    await learner().predict(ones(2, 1), { together: { wait: -1 } }); // <-
  },
  "predict with one name for a yes or no": async ({ learner }) => {
    await learner({ loss: bceWithLogits() }).predict(ones(2, 1), { classes: ["cat"] }); // <-
  },
  "accuracy of numbers": async ({ learner }) => {
    await learner({ callbacks: [new Recorder(), new Metrics(accuracy)] }).fit(1); // <-
  },
  "accuracy of one class": async ({ learner }) => {
    const data = [{ xs: ones(2, 1), ys: labels(0, 0) }];
    const metrics = new Metrics(accuracy);
    await learner({ loss: crossEntropy(), data: { training: data }, callbacks: [new Recorder(), metrics] }).fit(1); // <-
  },
  "the two likeliest of a yes or no": async ({ learner }) => {
    await learner({ loss: bceWithLogits(), callbacks: [new Recorder(), new Metrics(topK(2))] }).fit(1); // <-
  },
  "accuracy of numbers that a loss of one's own compares": async ({ learner }) => {
    const data = [{ xs: ones(2, 1), ys: { ...ones(2, 1), data: Float32Array.of(2.5, 4) } }];
    const loss = (yhat: any, ys: any): any => yhat.sub(ys).abs().mean();
    await learner({ loss, data: { training: data }, callbacks: [new Recorder(), new Metrics(accuracy)] }).fit(1); // <-
  },
  "accuracy of several outputs": async ({ learner, nn }) => {
    const loss = (yhat: any, ys: any): any => py.at(yhat, 0).sub(ys).abs().mean();
    const model = nn.LSTM(1, 1);
    await learner({ model, loss, callbacks: [new Recorder(), new Metrics(accuracy)] }).fit(1); // <-
  },
  "a batch size of 0": () => new DataLoader({ xs: ones(4, 1), ys: ones(4, 1) }, { batchSize: 0 }), // <-
};
