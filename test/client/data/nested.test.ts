/** Inputs and targets that are nested in JavaScript: the model gets lists and dicts, nested alike. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  DataLoader,
  Learner,
  metric,
  Metrics,
  py,
  Recorder,
  sgd,
  type BatchLike,
  type Data,
  type AnyRef,
  type LearnerOptions,
  type NDArray,
  type Worker,
} from "torchwire";
import { EMA, SanityCheck } from "torchwire/callbacks";
import { list, pad, type Dataset } from "torchwire/data";
import { outputs, summary } from "torchwire/model";
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

const ROWS = 8;
const wave = (count: number, by: number): number[] => Array.from({ length: count }, (_, i) => Math.sin(i * by));
const whole = {
  xs: {
    image: float32([ROWS, 2, 4], ...wave(8 * ROWS, 7)),
    meta: {
      site: { dtype: "int64", shape: [ROWS], data: BigInt64Array.from({ length: ROWS }, (_, i) => BigInt(i % 5)) },
      at: [float32([ROWS, 1], ...wave(ROWS, 3)), { weight: float32([ROWS, 1], ...wave(ROWS, 2)) }],
    },
  },
  ys: {
    label: { dtype: "int64", shape: [ROWS], data: BigInt64Array.from({ length: ROWS }, (_, i) => BigInt((i * i) % 3)) },
    more: [{ prognosis: float32([ROWS, 1], ...wave(ROWS, 5)) }],
  },
} as const;

const cut = ({ dtype, shape, data }: NDArray, i: number): NDArray => {
  const size = data.length / ROWS;
  return { dtype, shape: shape.slice(1), data: data.slice(i * size, (i + 1) * size) };
};
/** The same rows, one sample after the other: labels are plain numbers. */
const samples: Dataset<any> = {
  length: ROWS,
  get: (i) => ({
    xs: {
      image: cut(whole.xs.image, i),
      meta: {
        site: i % 5,
        at: [cut(whole.xs.meta.at[0], i), { weight: cut(whole.xs.meta.at[1].weight, i) }],
      },
    },
    ys: { label: (i * i) % 3, more: [{ prognosis: cut(whole.ys.more[0].prognosis, i) }] },
  }),
};

const lossOf = (yhat: any, ys: any): AnyRef =>
  torch.nn.functional
    .cross_entropy(py.at(yhat, "label"), ys.label)
    .add(torch.nn.functional.mse_loss(py.at(py.at(yhat, "more"), 0), ys.more[0].prognosis));

const right = metric("right", {
  update: (yhat: any, ys: any) => ({ right: py.at(yhat, "label").argmax(1).eq(ys.label).sum(), all: ys.label.numel() }),
  compute: ({ right: hits, all }) => hits / all,
});

/** The plain loop over batches of three: the losses, the weights, and the outputs of each batch afterwards. */
async function plain(model: AnyRef, epochs: number): Promise<{ losses: unknown; weights: unknown; given: any[] }> {
  const cuts = native("visits")(whole.xs, whole.ys, 3);
  const losses = await py.js(native("train")(model, cuts, epochs, py.float(0.5), native("visit_loss")));
  const given = await py.js(
    evaluated(worker, "[(lambda y: [y['label'].detach(), y['more'][0].detach()])(model(*b[:2])) for b in cuts]", {
      model: model.eval(),
      cuts,
    }),
  );
  return { losses, weights: await py.js(model.state_dict()), given: given as any[] };
}

const options = (data: LearnerOptions["data"], more: LearnerOptions["callbacks"] = []): LearnerOptions => ({
  data: data!,
  optimizer: sgd({ lr: 0.5 }),
  defaultCallbacks: false,
  callbacks: [new Recorder(), new Metrics(right), new SanityCheck(), ...more],
});

const floatsOf = (arrays: readonly any[]): number[] => arrays.flatMap(({ data }) => [...data]);

describe("a model of nested inputs and targets", () => {
  const kinds: Record<string, () => Data | Promise<Data>> = {
    "rows of arrays": () => new DataLoader(whole, { batchSize: 3 }),
    samples: () => new DataLoader(samples, { batchSize: 3 }),
    "batches by hand": async () => {
      const made: BatchLike[] = [];
      for await (const one of new DataLoader(whole, { batchSize: 3 })) made.push(structuredClone(one));
      return made;
    },
  };
  test.each(Object.keys(kinds))("trains and predicts bit for bit: %s", async (kind) => {
    const data = await kinds[kind]!();
    const model = native("Visit")();
    const copy = worker.import("copy").deepcopy(model) as AnyRef;
    const learner = new Learner(
      model,
      lossOf,
      options({ training: data, validation: data }, [new EMA({ validate: false })]),
    );
    expect((await learner.fit(2)).status).toBe("completed");
    const { losses, weights, given } = await plain(copy, 2);
    expect(learner.state.metricsStep["training"]!["loss"]!.map(({ value }) => value)).toEqual(losses);
    expect(await py.js(model.state_dict())).toEqual(weights);
    expect(learner.state.metricsEpoch["validation"]!["right"]).toHaveLength(2);
    const found = await learner.predict<any>(data);
    expect([...found.label.data]).toEqual(floatsOf(given.map(([label]) => label)));
    expect([...found.more[0].data]).toEqual(floatsOf(given.map(([, more]) => more)));
  });

  test("predicts inputs by name and by position, and sums them up", async () => {
    const model = native("Visit")();
    const { image, meta } = whole.xs;
    const one = await outputs<any>(model, whole.xs);
    expect(one.label.shape).toEqual([ROWS, 3]);
    // A record before an array, and after one.
    expect(await outputs(model, [image, meta])).toEqual(one);
    const swapped = native("Swapped")(model);
    expect(await outputs(swapped, [meta, image])).toEqual(one);
    expect(await outputs(native("Swapped")(native("Swapped")(model)), [image, meta])).toEqual(one);
    const [text, others] = [{ a: image }, { b: image }];
    expect(await outputs<any>(native("Echo")(), [text, others])).toMatchObject({ text, others });
    const shapes = [
      [ROWS, 3],
      [ROWS, 1],
    ];
    const found = await summary(model, {
      input: { image: [ROWS, 2, 4], meta: { site: meta.site, at: [[ROWS, 1], { weight: [ROWS, 1] }] } },
    });
    // Both are parts of one tensor.
    expect(found.layers[0]!.outputs).toEqual(shapes);
    expect((await summary(model, { input: [image, meta] })).layers[0]!.outputs).toEqual(shapes);
  });

  test("collates parts at any depth", async () => {
    const ragged: Dataset<any> = {
      length: 4,
      get: (i) => ({
        xs: {
          text: { tokens: Float32Array.from({ length: i + 1 }, (_, t) => t), site: i },
          others: [Float32Array.of(i), { c: i }],
        },
        ys: [i, { boxes: Float32Array.from({ length: 4 - i }, (_, t) => t) }],
      }),
    };
    const loader = new DataLoader(ragged, {
      batchSize: 4,
      collate: { xs: { text: { tokens: pad({ mask: "mask" }) } }, ys: [undefined, { boxes: list }] },
    });
    const seen: unknown[] = [];
    const look = (yhat: any, ys: any): AnyRef => {
      seen.push(py.js(yhat), py.len(ys[1].boxes));
      return py
        .at(py.at(yhat, "text"), "tokens")
        .sum()
        .mul(py.at(py.at(yhat, "text"), "w"));
    };
    const learner = new Learner(native("Echo")(), look, {
      data: { training: loader },
      optimizer: sgd({ lr: 0 }),
      defaultCallbacks: false,
    });
    await learner.fit(1);
    const [given, boxes] = await Promise.all(seen);
    expect(given).toMatchObject({
      text: {
        tokens: { shape: [4, 4], data: Float32Array.of(0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 0, 1, 2, 3) },
        mask: { dtype: "bool", shape: [4, 4] },
        site: { dtype: "int64", data: BigInt64Array.of(0n, 1n, 2n, 3n) },
      },
      others: [{ shape: [4, 1] }, { c: { dtype: "int64", shape: [4] } }],
    });
    expect(boxes).toBe(4);
  });

  test("says which part is none, counts samples, and waits for no promise", async () => {
    const failed = async (xs: object | (() => object)): Promise<string> => {
      const training = {
        *[Symbol.iterator]() {
          yield { xs: typeof xs === "function" ? xs() : xs, ys: whole.ys };
        },
      };
      const data = { training };
      return (await caught(() => new Learner(native("Visit")(), lossOf, options(unchecked(data))).fit(1))).message;
    };
    const { image, meta } = whole.xs;
    expect(await failed({ image, meta: { ...meta, site: [1, 2] } })).toMatch(
      /xs\.meta\.site\[0\] is 1, which is neither an array .* nor a reference; toNDArray/,
    );
    expect(
      await failed(() => ({
        image,
        meta: { at: Promise.reject(new Error("no")), site: Promise.reject(new Error("no")) },
      })),
    ).toContain("xs.meta.at is a Promise: await it");
    expect(
      await failed({ image, meta: { ...meta, site: { ...meta.site, shape: [4], data: new BigInt64Array(4) } } }),
    ).toMatch(/xs\.image has 8 samples and xs\.meta\.site has 4/);
  });
});
