/** L-BFGS in a learner, and an optimiser that the worker's torch lacks. Its bits are tested in optim-parity.test.ts. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  adam,
  AbstractTrainingPhase,
  callback,
  crossEntropy,
  DataLoader,
  kw,
  Learner,
  Metrics,
  mse,
  py,
  PyTorchBackend,
  Recorder,
  TrainingPhase,
  type LearnerOptions,
  type NDArray,
  type Worker,
} from "torchwire";
import { sequence } from "torchwire/formats";
import { ctc, ownLoss, type Loss } from "torchwire/losses";
import { lbfgs, muon } from "torchwire/optim";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { evaluated, structures } from "../../structures.ts";
import { float32 } from "../../tiny.ts";
import { testWorker, warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

/** y = 3 a - 2 b + 1, which least squares finds. */
const points = {
  xs: { dtype: "float32", shape: [4, 2], data: Float32Array.of(0, 0, 1, 0, 0, 1, 2, 3) },
  ys: { dtype: "float32", shape: [4, 1], data: Float32Array.of(1, 4, -1, 1) },
} as const;

function learnerOf(model: AnyRef, loss: Loss, options: LearnerOptions = {}): Learner {
  const data = { training: [points] };
  return new Learner(model, loss, { data, optimizer: lbfgs(), defaultCallbacks: false, ...options });
}
const train = (learner: Learner): Promise<void> => learner.epoch(new TrainingPhase());

async function coefficients(model: AnyRef): Promise<unknown[]> {
  const arrays = await Promise.all([model.weight, model.bias].map((one) => py.ndarray(one.detach())));
  return arrays.flatMap(({ data }) => Array.from(data as Float32Array));
}
const found = [3, -2, 1].map((value): unknown => expect.closeTo(value, 3));

describe("L-BFGS", () => {
  test("finds least squares in a step, with a spec, with a module", async () => {
    for (const loss of [mse(), torch.nn.MSELoss()]) {
      const model = torch.nn.Linear(2, 1);
      await train(learnerOf(model, loss));
      expect(await coefficients(model)).toEqual(found);
    }
  });

  test("handlers see the loss before the step", async () => {
    const seen: number[] = [];
    const observer = callback({
      name: "Seen",
      observe: { stepEnd: ({ values }) => void seen.push(values.loss) },
    });
    const model = torch.nn.Linear(2, 1);
    const before = await torch.nn.functional.mse_loss(model(worker.tensor(points.xs)), worker.tensor(points.ys)).item();
    const learner = learnerOf(model, mse(), { callbacks: [observer] });
    await train(learner);
    await train(learner);
    expect(seen[0]).toBe(before);
    expect(seen[1]).toBeLessThan(1e-6);
  });

  test("evaluates models of several inputs, and losses of several targets by their names", async () => {
    const data = {
      training: [
        {
          xs: {
            dtype: "float32",
            shape: [2, 5, 4],
            data: Float32Array.from({ length: 40 }, (_, i) => ((i * 7) % 11) / 11),
          },
          ys: {
            targets: { dtype: "int32", shape: [2, 2], data: Int32Array.of(1, 2, 2, 1) },
            inputLengths: { dtype: "int32", shape: [2], data: Int32Array.of(5, 4) },
            targetLengths: { dtype: "int32", shape: [2], data: Int32Array.of(2, 1) },
          },
        },
      ],
    } as const;
    const losses: number[] = [];
    const observer = callback({
      name: "Losses",
      observe: { stepEnd: ({ values }) => void losses.push(values.loss) },
    });
    const { nn } = torch;
    for (const optimizer of [lbfgs({ maxIter: 5 }), adam()]) {
      const model = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(-1));
      const learner = learnerOf(model, ctc(), { data, input: sequence(), optimizer, callbacks: [observer] });
      for (let i = 0; i < 2; i++) await train(learner);
    }
    expect(losses[1]!).toBeLessThan(losses[0]!);
    expect(losses[3]!).toBeLessThan(losses[2]!);

    const pair = { xs: [points.xs, points.xs], ys: points.ys };
    const named = { xs: { input1: points.xs, input2: points.xs }, ys: points.ys };
    for (const batch of [pair, named]) {
      const model = nn.Bilinear(2, 2, 1);
      const learner = learnerOf(model, mse(), { data: { training: [batch] } });
      await train(learner);
      expect(
        await learner
          .lossFn(model(worker.tensor(points.xs), worker.tensor(points.xs)), worker.tensor(points.ys))
          .item(),
      ).toBeLessThan(0.5);
    }
  });

  test("has the bits of the plain loop where the program computes the loss, or its output, or the model its loss", async () => {
    const native = structures(worker);
    const [xs, ys] = [
      float32([6, 2], ...Array.from({ length: 12 }, (_, i) => Math.sin(i * 7))),
      { dtype: "int64", shape: [6], data: BigInt64Array.of(0n, 1n, 2n, 2n, 0n, 1n) } as const,
    ];
    const numbered = (below: number): NDArray => ({
      dtype: "int64",
      shape: [6, 2],
      data: BigInt64Array.from({ length: 12 }, (_, i) => BigInt(i % below)),
    });
    const F = torch.nn.functional;
    const cases: [string, AnyRef, Loss, LearnerOptions, string, { xs: any; ys: NDArray }][] = [
      [
        "a loss in TypeScript",
        native("Classifier")("dataclass"),
        (yhat, target) => F.cross_entropy(yhat["logits"], target),
        {},
        "torch.nn.functional.cross_entropy(model(x).logits, y)",
        { xs, ys },
      ],
      [
        "an output",
        native("Classifier")("tuple"),
        crossEntropy(),
        { output: (y) => y.logits },
        "torch.nn.functional.cross_entropy(model(x)[0], y)",
        { xs, ys },
      ],
      [
        "a loss of the model's own",
        native("Tagger")(),
        ownLoss(),
        { output: (y) => y.logits },
        "model(x, labels=y).loss",
        { xs: numbered(11), ys: numbered(3) },
      ],
    ];
    const calls = worker.calls.get("evaluateLoss") ?? 0;
    for (const [what, model, loss, options, expression, rows] of cases) {
      const copy = worker.import("copy").deepcopy(model) as AnyRef;
      const learner = learnerOf(model, loss, {
        ...options,
        data: { training: new DataLoader(rows, { batchSize: 3 }) },
        optimizer: lbfgs({ lr: 0.5, maxIter: 4 }),
        callbacks: [new Recorder(), new Metrics()],
      });
      await learner.fit(2);
      const batches = evaluated(worker, "list(zip(x.split(3), y.split(3)))", {
        x: worker.tensor(rows.xs as NDArray),
        y: worker.tensor(rows.ys),
      });
      const lossOf = evaluated(worker, `lambda model, x, y: ${expression}`);
      const losses = await py.js(native("train_lbfgs")(copy, batches, 2, lossOf));
      const seen = learner.state.metricsStep["training"]!["loss"]!.map(({ value }) => value);
      expect([what, seen]).toEqual([what, losses]);
      expect(await py.js(model.state_dict())).toEqual(await py.js(copy.state_dict()));
      expect(learner.explain()).toContain("evaluateLoss");
    }
    // Of four evaluations in a step the first is the step's own.
    expect(worker.calls.get("evaluateLoss")! - calls).toBe(3 * 4 * 3);
  });

  test.each<[string, () => Learner, RegExp]>([
    [
      "groups of batches",
      () =>
        learnerOf(torch.nn.Linear(2, 1), mse(), {
          callbacks: [new PyTorchBackend({ accumulate: 2 })],
          data: { training: [points, points] },
        }),
      /evaluates one batch, and accumulate makes groups of them: give it larger batches/,
    ],
    [
      "clipping",
      () => learnerOf(torch.nn.Linear(2, 1), mse(), { callbacks: [new PyTorchBackend({ clipGradNorm: 1 })] }),
      /clipGradNorm and clipGradValue do not go with an optimizer that evaluates gradients anew within a step/,
    ],
  ])("refuses %s", async (_what, learner, message) => {
    const error = await caught(() => train(learner()));
    expect(`${error.message} ${(error.cause as Error | undefined)?.message}`).toMatch(message);
  });

  test("an optimizer of one's own that takes a closure is made by a phase of one's own", async () => {
    class ByHand extends AbstractTrainingPhase {
      readonly name = "by hand";
      step(learner: Learner, batch: never): ReturnType<Learner["runStep"]> {
        return learner.runStep(this, batch, async (step) => {
          const { closure } = worker.import("torchwire_worker.helpers.training");
          const { optimizer, model } = learner;
          step.loss = learner.lossFn(model(step.xs), step.ys);
          optimizer.zero_grad();
          step.loss.backward();
          optimizer.step(closure(optimizer, model, torch.nn.functional.mse_loss, [step.xs], {}, step.ys, step.loss));
        });
      }
    }
    const model = torch.nn.Linear(2, 1);
    const learner = learnerOf(model, mse(), { optimizer: (m) => torch.optim.LBFGS(m.parameters()) });
    await learner.epoch(new ByHand());
    expect(await coefficients(model)).toEqual(found);
  });
});

test("what this torch lacks is named, with the version that has it", async () => {
  const own = await testWorker();
  try {
    const optim = untyped(own, "torch.optim");
    if (await py.has(optim, "Muon")) await py.del(optim, "Muon");
    const model = untyped(own, "torch").nn.Linear(2, 1, kw({ bias: false }));
    const error = await caught(() => muon().create(own, model));
    expect(error.message).toMatch(
      /AttributeError: torch\.optim\.Muon came with torch 2\.9, and this is torch 2\.\d+\.\d+\S*: update torch/,
    );
  } finally {
    await own.close();
  }
});
