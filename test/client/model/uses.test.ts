/** Each kind of output that a model may have, in each use that the learner makes of one. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  accuracy,
  crossEntropy,
  DataLoader,
  Learner,
  lrFind,
  Metrics,
  py,
  PyTorchBackend,
  Recorder,
  sgd,
  StopOnNaNLoss,
  type AnyRef,
  type LearnerOptions,
  type NDArray,
  type Worker,
} from "torchwire";
import { EMA, SanityCheck, SWA } from "torchwire/callbacks";
import { lbfgs } from "torchwire/optim";
import { outputs, summary } from "torchwire/model";
import { evaluated, structures } from "../../structures.ts";
import { float32 } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let native: (name: string) => AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  native = structures(worker);
});

const ROWS = 6;
const xs = float32([ROWS, 2], ...Array.from({ length: 2 * ROWS }, (_, i) => Math.sin(i * 7)));
const ys = Array.from({ length: ROWS }, (_, i) => (i * i) % 3);

/** How the logits are had, in TypeScript and in Python; and the shapes of all tensors in the output, for six rows. */
const kinds: Readonly<Record<string, readonly [(y: any) => AnyRef, string, readonly (readonly number[])[]]>> = {
  tensor: [(y) => y, "y", [[ROWS, 3]]],
  tuple: [
    (y) => py.at(y, 0),
    "y[0]",
    [
      [ROWS, 3],
      [ROWS, 4],
    ],
  ],
  output: [
    (y) => y.logits,
    "y.logits",
    [
      [ROWS, 3],
      [ROWS, 4],
      [ROWS, 2],
    ],
  ],
  dataclass: [
    (y) => y.logits,
    "y.logits",
    [
      [ROWS, 3],
      [ROWS, 4],
      [ROWS, 2],
    ],
  ],
  nested: [
    (y) => py.at(py.at(py.at(y, "heads"), 0), "logits"),
    'y["heads"][0]["logits"]',
    [
      [ROWS, 3],
      [ROWS, 4],
    ],
  ],
};

interface Use {
  readonly kind: string;
  readonly model: AnyRef;
  readonly output: (y: any) => AnyRef;
  readonly learner: (more?: LearnerOptions) => Learner;
  /** What plain PyTorch computes: an expression of the output `y` of a copy. */
  readonly plainly: (expression?: string, around?: string) => Promise<NDArray>;
}

const uses: Readonly<Record<string, (use: Use) => Promise<void>>> = {
  "a fit with each callback that looks at outputs or weights": async ({ learner, plainly }) => {
    const own = learner({
      callbacks: [
        new Recorder(),
        new Metrics(accuracy),
        new SanityCheck(),
        new StopOnNaNLoss(),
        new EMA({ validate: false }),
        new SWA({ start: 1 }),
      ],
    });
    const logits = await plainly();
    expect((await own.fit(1)).status).toBe("completed");
    await own.getCallback(SWA)!.updateBatchNorm();
    const loss = await py.js(
      evaluated(worker, "torch.nn.functional.cross_entropy(y, t).item()", {
        y: worker.tensor(logits),
        t: worker.tensor({ dtype: "int64", shape: [ROWS], data: BigInt64Array.from(ys, BigInt) }),
      }),
    );
    expect(own.state.metricsStep["training"]!["loss"]![0]!.value).toBe(loss);
    expect(own.state.metricsEpoch["validation"]!["accuracy"]).toHaveLength(1);
  },
  "predictions, of the output and of classes": async ({ learner, plainly }) => {
    const logits = await plainly();
    expect(await learner().predict(xs)).toEqual(logits);
    const best = await plainly(".argmax(1)");
    const found = await learner().predict(xs, { topK: 2 });
    expect(found.map(({ index }) => BigInt(index))).toEqual([...best.data]);
  },
  "mixed precision: the same structure, in full precision": async ({ model, learner, output, plainly }) => {
    const wanted = await plainly(".float()", 'with torch.autocast("cpu", torch.bfloat16): ');
    const form = (value: unknown): string => JSON.stringify(value, (_, one: unknown) => (isArray(one) ? "array" : one));
    const before = form(await outputs<any>(model, xs));
    const own = learner({ callbacks: [new PyTorchBackend({ amp: "bf16" })] });
    expect(await own.predict(xs)).toEqual(wanted);
    expect(await outputs(model, xs, { select: output })).toEqual(wanted);
    expect(form(await outputs<any>(model, xs))).toBe(before);
    expect((await own.fit(1)).status).toBe("completed");
  },
  "its summary": async ({ kind, model }) => {
    expect((await summary(model, { input: [ROWS, 2] })).layers[0]!.outputs).toEqual(kinds[kind]![2]);
  },
  "the finder of rates": async ({ learner }) => {
    expect((await lrFind(learner(), { steps: 3 })).losses.length).toBeGreaterThan(0);
  },
  "an optimizer that takes a closure": async ({ learner }) => {
    const own = learner({ optimizer: lbfgs(), callbacks: [new Recorder(), new Metrics()] });
    await own.fit(2);
    const [first, second] = own.state.metricsStep["training"]!["loss"]!;
    expect(second!.value).toBeLessThan(first!.value);
  },
};

const isArray = (value: unknown): boolean => typeof value === "object" && value !== null && "dtype" in value;

describe.each(Object.keys(kinds))("an output that is of the kind %s serves", (kind) => {
  test.each(Object.keys(uses))("%s", async (name) => {
    expect.hasAssertions();
    const [output, expression] = kinds[kind]!;
    const model = native("Classifier")(kind);
    const copy = worker.import("copy").deepcopy(model) as AnyRef;
    await uses[name]!({
      kind,
      model,
      output,
      learner: (more = {}) => {
        const data = new DataLoader({ xs, ys }, { batchSize: ROWS });
        return new Learner(model, crossEntropy(), {
          data: { training: data, validation: data.clone() },
          output,
          optimizer: sgd({ lr: 0.1 }),
          defaultCallbacks: false,
          ...more,
        });
      },
      plainly: (more = "", around = "") => {
        const names = worker.import("builtins").dict() as AnyRef;
        const source = `import torch\ndef f(model, x):\n    ${around === "" ? "if True: " : around}y = model(x)\n    return (${expression})${more}.detach()`;
        worker.import("builtins").exec(source, names);
        return py.ndarray(py.at(names, "f")(copy, worker.tensor(xs)));
      },
    });
  });
});
