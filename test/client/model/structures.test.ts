/** Models whose outputs are structures: predictions, and the output that losses and metrics see. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  accuracy,
  AbstractTrainingPhase,
  crossEntropy,
  DataLoader,
  Learner,
  metric,
  Metrics,
  mse,
  py,
  PyTorchBackend,
  Recorder,
  sgd,
  type BatchLike,
  type NDArray,
  type Step,
  type Worker,
} from "torchwire";
import { SanityCheck } from "torchwire/callbacks";
import { list } from "torchwire/data";
import { same } from "torchwire/formats";
import { gaussianNll, type Loss } from "torchwire/losses";
import { classify, outputs, summary } from "torchwire/model";
import { lrFind, type LearnerOptions } from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { evaluated, structures } from "../../structures.ts";
import { float32, unchecked } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
let native: (name: string) => AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  native = structures(worker);
});

const rows = (count: number): NDArray =>
  float32([count, 2], ...Array.from({ length: 2 * count }, (_, i) => Math.sin(i * 7)));
const classes = (count: number): number[] => Array.from({ length: count }, (_, i) => (i * i) % 3);
const data = (count: number): { xs: NDArray; ys: number[] } => ({ xs: rows(count), ys: classes(count) });

const classifier = (kind = "output"): AnyRef => native("Classifier")(kind);

/** What plain PyTorch gives for `rows(count)`, batch by batch: an expression of its output y. */
const plainly = (model: AnyRef, expression: string, batchSize = 64, count = 7): Promise<NDArray> =>
  py.ndarray(
    evaluated(worker, `torch.cat([(lambda y: ${expression})(model(x)) for x in xs.split(${batchSize})])`, {
      model,
      xs: worker.tensor(rows(count)),
    }),
  );

const options = (more: LearnerOptions = {}): LearnerOptions => ({
  data: {
    training: new DataLoader(data(8), { batchSize: 4 }),
    validation: new DataLoader(data(6), { batchSize: 4 }),
  },
  optimizer: sgd({ lr: 0.5 }),
  defaultCallbacks: false,
  callbacks: [new Recorder(), new Metrics(accuracy)],
  ...more,
});

const kinds = ["output", "dataclass", "nested", "tuple"];
/** The logits of each kind, in TypeScript. */
const logitsOf: { readonly [kind: string]: (y: any) => AnyRef } = {
  output: (y) => y.logits,
  dataclass: (y) => y.logits,
  nested: (y) => py.at(py.at(py.at(y, "heads"), 0), "logits"),
  tuple: (y) => y.logits,
};

describe("predict", () => {
  const batchSizes = [3, 64];

  test("gives the model's structure: records, arrays, None, and what is the same for all samples", async () => {
    for (const batchSize of batchSizes) {
      const [output, record, nested, tuple] = kinds.map((kind) => classifier(kind)) as [AnyRef, AnyRef, AnyRef, AnyRef];
      expect(await outputs<any>(output, rows(7), { batchSize })).toEqual({
        logits: await plainly(output, "y.logits", batchSize),
        hidden_states: [await plainly(output, "y.hidden_states[0]", batchSize), rows(7)],
      });
      expect(await outputs<any>(record, rows(7), { batchSize })).toEqual({
        logits: await plainly(record, "y.logits", batchSize),
        loss: null,
        states: [await plainly(record, "y.states[0]", batchSize), rows(7)],
        name: "out",
      });
      expect(await outputs<any>(nested, rows(7), { batchSize })).toEqual({
        heads: [{ logits: await plainly(nested, 'y["heads"][0]["logits"]', batchSize) }, null],
        state: { last: await plainly(nested, 'y["state"]["last"]', batchSize) },
        layers: 2,
      });
      expect(await outputs<any>(tuple, rows(7), { batchSize })).toEqual([
        await plainly(tuple, "y[0]", batchSize),
        await plainly(tuple, "y[1]", batchSize),
      ]);
    }
  });

  test("select picks a part, computes with it, and gives the result its form and type", async () => {
    const model = classifier();
    const learner = new Learner(model, crossEntropy(), options());
    for (const batchSize of batchSizes) {
      const logits: NDArray = await learner.predict(rows(7), { batchSize, select: (y) => y.logits });
      expect(logits).toEqual(await plainly(model, "y.logits", batchSize));
      const both = await learner.predict(rows(7), {
        batchSize,
        select: (y) => ({ best: y.logits.argmax(1), states: [y.hidden_states[0], y.hidden_states[1].mul(2)] as const }),
      });
      const best: NDArray = both.best;
      const second: NDArray = both.states[1];
      expect([best, second]).toEqual([
        await plainly(model, "y.logits.argmax(1)", batchSize),
        await plainly(model, "y[list(y)[1]][1] * 2", batchSize),
      ]);
    }
    // A reference to a structure gives one, which the type argument names.
    const states = await learner.predict<readonly NDArray[]>(rows(7), { select: (y) => y.hidden_states });
    expect(states).toEqual([await plainly(model, "y.hidden_states[0]"), rows(7)]);
  });

  test("select with topK gives the likeliest of the part's classes", async () => {
    const model = classifier();
    const learner = new Learner(model, crossEntropy(), options());
    const found = await learner.predict(rows(7), { select: (y) => y.logits, topK: 3, batchSize: 3 });
    const best = (await plainly(model, "y.logits.argmax(1)", 3)).data;
    expect(found.map(({ index, top }) => [BigInt(index), top.length])).toEqual([...best].map((one) => [one, 3]));
    const probabilities = await plainly(model, "y.logits.softmax(1)", 3);
    expect(found.flatMap((one) => [...one.probabilities])).toEqual(
      [...probabilities.data].map((one) => expect.closeTo(Number(one), 6)),
    );
    expect(await classify(model, rows(7), { select: (y) => y.logits, topK: 3, batchSize: 3 })).toEqual(found);
  });

  test("a select that gives no references says what to write, and stops nothing else", async () => {
    const learner = new Learner(classifier(), crossEntropy(), options());
    const message = async (select: unknown): Promise<string> => {
      const error = await caught(() => learner.predict(rows(2), unchecked({ select })));
      expect(error.code).toBe("MISUSE");
      return error.message;
    };
    expect(await message(() => undefined)).toContain("predict: select gave undefined; it must return a part");
    expect(await message(async (y: AnyRef) => y["logits"])).toContain("leave async and await out");
    expect(await message((y: AnyRef) => ({ logits: y["logits"], n: 3 }))).toContain("predict: select.n gave 3");
    expect(await message("logits")).toContain("predict: select is 'logits'; it must be a function");
    expect((await learner.predict(rows(2), { select: (y) => y.logits })).shape).toEqual([2, 3]);
  });

  /** A module with this output for x. */
  const moduleOf = (expression: string): AnyRef => {
    const names = worker.import("builtins").dict();
    worker
      .import("builtins")
      .exec(
        `import torch, collections, itertools\ncount = itertools.count()\nclass Own(torch.nn.Module):\n  def forward(self, x): return ${expression}`,
        names,
      );
    return py.at(names, "Own")();
  };

  test("what cannot be joined or sent is named by its path, and says what to do", async () => {
    const refused = async (expression: string): Promise<string> =>
      (await caught(() => outputs(moduleOf(expression), rows(4), { batchSize: 2 }))).message;
    expect(await refused('{"y": x, "aux": [x.sum()]}')).toMatch(
      /in output\.aux\[0\], a single number.*select: \(y\) =>/,
    );
    expect(await refused('{"y": x, "n": next(count)}')).toMatch(
      /the model's output\.n is another number for each batch.*select/,
    );
    expect(await refused('{"y": x, "cache": object()}')).toMatch(
      /the model's output\['cache'\] is a object.*select: \(y\) =>/,
    );
    // A state [layers, samples, …] would be joined along its layers.
    expect(await refused("(x, (x.new_zeros(3, len(x), 2),))")).toMatch(
      /in output\[1\]\[0\], 3 rows for a batch of 2 samples.*movedim/,
    );
    const moved = await outputs(moduleOf("(x, x.expand(3, -1, -1))"), rows(4), {
      batchSize: 2,
      select: (y) => y[1].movedim(1, 0),
    });
    expect(moved.shape).toEqual([4, 3, 2]);
  });

  test("a list of samples gives what a detector has for each of them", async () => {
    const detector = native("Detector")();
    const pictures = Array.from({ length: 4 }, (_, i) =>
      float32([3, 1, i + 1], ...Array.from({ length: 3 * (i + 1) }, (__, j) => Math.sin(i + j))),
    );
    const each = await py.js(
      evaluated(worker, "[one for pair in (images[:2], images[2:]) for one in detector.eval()(pair)]", {
        detector,
        images: pictures.map((one) => worker.tensor(one)),
      }),
    );
    expect(await outputs<any>(detector, list(pictures), { batchSize: 2, input: same })).toEqual(each);
  });

  test("dicts by other keys, deques, and several rows for a sample", async () => {
    for (const batchSize of batchSizes) {
      const found = await outputs<any>(moduleOf("{1: x, 2: collections.deque([x, None])}"), rows(4), { batchSize });
      expect(found).toEqual(
        new Map<number, unknown>([
          [1, rows(4)],
          [2, [rows(4), null]],
        ]),
      );
      expect((await outputs(moduleOf("x.repeat_interleave(2, 0)"), rows(4), { batchSize })).shape).toEqual([8, 2]);
    }
  });
});

describe("a learner's output", () => {
  /** The plain loop over these rows. Returns the loss of each step, and the weights after it. */
  async function plain(model: AnyRef, expression: string): Promise<{ losses: number[]; weights: unknown }> {
    const loss = `lambda model, x, y: torch.nn.functional.cross_entropy((lambda y: ${expression})(model(x)), y)`;
    const [xs, ys] = [worker.tensor(rows(8)), torch.tensor(classes(8)).long()];
    const cut = evaluated(worker, "[(xs[i:i + 4], ys[i:i + 4]) for i in (0, 4)]", { xs, ys });
    const losses = await py.js(native("train")(model, cut, 2, py.float(0.5), evaluated(worker, loss)));
    return { losses: losses as number[], weights: await py.js(model.state_dict()) };
  }

  const expressions = ["y.logits", "y.logits", 'y["heads"][0]["logits"]', "y[0]"];

  test.each(kinds.map((kind, i) => [kind, expressions[i]!] as const))(
    "is what losses, metrics and predictions see: %s",
    async (kind, expression) => {
      const model = classifier(kind);
      const copy = worker.import("copy").deepcopy(model) as AnyRef;
      const learner = new Learner(model, crossEntropy(), options({ output: logitsOf[kind]! }));
      await learner.fit(2);
      const { losses, weights } = await plain(copy, expression);
      expect(await py.js(model.state_dict())).toEqual(weights);
      const { training, validation } = learner.state.metricsStep;
      expect(training!["loss"]!.map(({ value }) => value)).toEqual(losses);
      const best = (await plainly(model, `${expression}.argmax(1)`, 4, 6)).data;
      const right = classes(6).filter((one, i) => BigInt(one) === best[i]).length;
      expect(learner.state.metricsEpoch["validation"]!["accuracy"]!.at(-1)!.value).toBe(right / 6);
      expect(validation!["loss"]).toHaveLength(4);
      // Predictions give it, and select picks from everything.
      const logits = await plainly(model, expression, 3);
      expect(await learner.predict(rows(7), { batchSize: 3 })).toEqual(logits);
      expect(await learner.predict(rows(7), { select: (y) => logitsOf[kind]!(y).mul(2) })).toEqual(
        await plainly(model, `${expression} * 2`),
      );
      expect((await learner.predict(rows(2), { topK: 3 }))[0]!.top).toHaveLength(3);
    },
  );

  test("a record goes to losses of several outputs, and to metrics without gradients", async () => {
    const [mean, vari] = [torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)];
    const model = torch.nn.ModuleList([mean, vari]);
    const names = worker.import("builtins").dict();
    worker
      .import("builtins")
      .exec(
        "import torch\nclass Two(torch.nn.Module):\n  def __init__(self, parts):\n    super().__init__()\n    self.parts = parts\n  def forward(self, x): return self.parts[0](x), self.parts[1](x).exp()",
        names,
      );
    const two = py.at(names, "Two")(model);
    const target = float32([4, 1], 1, 2, 3, 4);
    const grads: boolean[] = [];
    const spread = metric("spread", {
      update: (yhat: any) => ({ grad: yhat.var.requires_grad.__int__(), sum: yhat.var.sum() }),
      compute: ({ grad, sum }) => {
        grads.push(grad > 0);
        return sum;
      },
    });
    const before = await py.ndarray(
      evaluated(worker, "torch.nn.functional.gaussian_nll_loss(*(lambda y: (y[0], t, y[1]))(m(x)))", {
        m: two,
        x: worker.tensor(rows(4)),
        t: worker.tensor(target),
      }),
    );
    const learner = new Learner(two, gaussianNll(), {
      ...options({
        output: (y) => ({ input: y[0], var: y[1] }),
        callbacks: [new Recorder(), new Metrics(spread), new SanityCheck()],
      }),
      data: { training: [{ xs: rows(4), ys: target }], validation: [{ xs: rows(4), ys: target }] },
    });
    await learner.fit(1);
    expect(learner.state.metricsStep["training"]!["loss"]![0]!.value).toBe(Number(before.data[0]));
    expect(grads.length).toBeGreaterThan(0);
    expect(grads).not.toContain(true);
    const { input } = await learner.predict<{ input: NDArray }>(rows(4));
    expect(input.shape).toEqual([4, 1]);
  });

  test("sanity checks, the finder of rates and mixed precision see it", async () => {
    const learner = new Learner(
      classifier(),
      crossEntropy(),
      options({
        output: (y) => y.logits,
        callbacks: [new Recorder(), new Metrics(accuracy), new SanityCheck(), new PyTorchBackend({ amp: "bf16" })],
      }),
    );
    expect((await lrFind(learner, { steps: 4 })).losses.length).toBeGreaterThan(0);
    expect((await learner.fit(1)).status).toBe("completed");
    expect((await learner.predict(rows(2))).dtype).toBe("float32");
  });

  test("a phase of one's own takes learner.forward", async () => {
    class Own extends AbstractTrainingPhase {
      readonly name = "training";
      step(learner: Learner, batch: BatchLike): Promise<Step> {
        return learner.runStep(this, batch, async (step) => {
          step.yhat = learner.forward(step.xs, step.ys);
          step.loss = learner.lossFn(step.yhat, step.ys);
          learner.optimizer.zero_grad();
          learner.backward(step.loss);
          learner.update();
        });
      }
    }
    const model = classifier();
    const copy = worker.import("copy").deepcopy(model) as AnyRef;
    await new Learner(model, crossEntropy(), options({ output: (y) => y.logits })).fit(2, {
      phases: { training: new Own() },
    });
    expect(await py.js(model.state_dict())).toEqual((await plain(copy, "y.logits")).weights);
  });

  test("a function that is none, or gives no references, is refused", async () => {
    const made = (output: unknown, more: LearnerOptions = {}): Learner =>
      new Learner(classifier(), crossEntropy(), options(unchecked({ output, ...more })));
    expect(() => made("logits")).toThrow(/output is 'logits'; it must be a function of the model's output/);
    expect((await caught(() => made(() => undefined).fit(1))).message).toContain("output gave undefined");
    expect((await caught(() => made(async (y: AnyRef) => y["logits"]).fit(1))).message).toContain(
      "leave async and await out",
    );
  });
});

describe("losses, summary and mixed precision without an output", () => {
  test.each([crossEntropy(), mse()])("a loss of tensors says what picks one: %o", async (loss) => {
    for (const kind of ["dataclass", "nested"]) {
      const learner = new Learner(classifier(kind), loss, options({ callbacks: [] }));
      expect((await caught(() => learner.fit(1))).message).toContain(
        "new Learner(…, { output: (yhat) => yhat.logits })",
      );
    }
  });

  test.each(kinds)("a loss of references takes the structure itself: %s", async (kind) => {
    const model = classifier(kind);
    const fn: Loss = (yhat, ys) => torch.nn.functional.cross_entropy(logitsOf[kind]!(yhat), ys);
    const right = metric("right", {
      update: (yhat: any, ys: any) => ({ right: logitsOf[kind]!(yhat)["argmax"](1).eq(ys).sum(), all: ys.numel() }),
      compute: ({ right, all }) => right / all,
    });
    for (const backend of [new PyTorchBackend(), new PyTorchBackend({ amp: "bf16" })]) {
      const learner = new Learner(
        worker.import("copy").deepcopy(model) as AnyRef,
        fn,
        options({ callbacks: [new Recorder(), new Metrics(right), new SanityCheck(), backend] }),
      );
      expect((await learner.fit(1)).status).toBe("completed");
      expect(learner.state.metricsEpoch["validation"]!["right"]).toHaveLength(1);
    }
  });

  test("summary takes inputs in every container, and shapes of several", async () => {
    const tagger = native("Tagger")();
    const input_ids = worker.tensor({ dtype: "int64", shape: [2, 5], data: new BigInt64Array(10) });
    const mask = { dtype: "float32", shape: [2, 5], data: new Float32Array(10).fill(1) } as const;
    const found = await summary(tagger, { input: { input_ids, attention_mask: mask } });
    expect(found.layers[0]!.outputs).toEqual([
      [2, 5, 3],
      [2, 5, 6],
    ]);
    const bilinear = torch.nn.Bilinear(2, 3, 4);
    expect(
      (
        await summary(bilinear, {
          input: [
            [5, 2],
            [5, 3],
          ],
        })
      ).layers[0]!.outputs,
    ).toEqual([[5, 4]]);
    expect(
      (
        await summary(bilinear, {
          input: { input1: [5, 2], input2: worker.tensor(float32([5, 3], ...Array.from({ length: 15 }, () => 0))) },
        })
      ).layers[0]!.outputs,
    ).toEqual([[5, 4]]);
  });
});
