/** Losses in a worker: the operation that each becomes, and what is made of a loss of one's own. */
import { beforeAll, describe, expect, test } from "vitest";
import { bceWithLogits, crossEntropy, kw, mse, py, type NDArray, type Worker } from "torchwire";
import { logitCrossEntropy } from "torchwire/flux";
import { l1, type Loss, type LossSpec } from "torchwire/losses";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { toLoss, toTargets } from "../../../client/losses/spec.ts";
import { caught, operationsOf, untyped } from "../../observed.ts";
import { warmWorker } from "../../worker.ts";

describe("in a worker", () => {
  let worker: Worker;
  let torch: AnyRef;
  let F: AnyRef;
  let logits: AnyRef;

  beforeAll(async () => {
    worker = await warmWorker();
    torch = untyped(worker, "torch");
    F = torch.nn.functional;
    logits = await torch.randn(6, 3);
  });

  const labels: NDArray = { dtype: "uint8", shape: [6], data: Uint8Array.of(0, 1, 2, 1, 1, 0) };
  const soft = (): AnyRef => torch.softmax(torch.arange(18, kw({ dtype: torch.float32 })).view(6, 3), 1);
  const classes = (): AnyRef => worker.tensor(labels).long() as unknown as AnyRef;
  const weight = (): AnyRef => torch.tensor([0.5, 1, 2]);
  const tensor = { dtype: "float32", shape: [3], data: Float32Array.of(0.5, 1, 2) } as const;

  test.each<[string, () => LossSpec, () => AnyRef, () => AnyRef]>([
    ["crossEntropy", () => crossEntropy(), classes, () => F.cross_entropy(logits, classes())],
    ["its alias", () => logitCrossEntropy(), classes, () => F.cross_entropy(logits, classes())],
    ["with probabilities", () => crossEntropy(), soft, () => F.cross_entropy(logits, soft())],
    [
      "with integral floats",
      () => crossEntropy({ labelSmoothing: 1, weight: [1, 2, 3] }),
      classes,
      () =>
        F.cross_entropy(
          logits,
          classes(),
          kw({ label_smoothing: py.float(1), weight: torch.tensor([1, 2, 3]).float() }),
        ),
    ],
    [
      "with everything",
      () => crossEntropy({ weight: tensor, ignoreIndex: 2, reduction: "sum", labelSmoothing: 0.1 }),
      classes,
      () =>
        F.cross_entropy(
          logits,
          classes(),
          kw({ weight: weight(), ignore_index: 2, reduction: "sum", label_smoothing: 0.1 }),
        ),
    ],
    [
      "with a reference",
      () => crossEntropy({ weight: weight() }),
      classes,
      () => F.cross_entropy(logits, classes(), kw({ weight: weight() })),
    ],
    ["mse", () => mse(), soft, () => F.mse_loss(logits, soft())],
    ["mse, summed", () => mse({ reduction: "sum" }), soft, () => F.mse_loss(logits, soft(), kw({ reduction: "sum" }))],
    ["l1", () => l1(), soft, () => F.l1_loss(logits, soft())],
    ["l1 of each", () => l1({ reduction: "none" }), soft, () => F.l1_loss(logits, soft(), kw({ reduction: "none" }))],
    ["bceWithLogits", () => bceWithLogits(), soft, () => F.binary_cross_entropy_with_logits(logits, soft())],
    [
      "bceWithLogits with everything",
      () => bceWithLogits({ posWeight: Float32Array.of(0.5, 1, 2), weight: [1, 2, 1], reduction: "sum" }),
      soft,
      () =>
        F.binary_cross_entropy_with_logits(
          logits,
          soft(),
          kw({ pos_weight: weight(), weight: torch.tensor([1, 2, 1]).float(), reduction: "sum" }),
        ),
    ],
  ])("%s is PyTorch's, bit for bit", async (_what, spec, ys, expected) => {
    const loss = toLoss(worker, spec());
    expect(await py.ndarray(loss(logits, ys()))).toEqual(await py.ndarray(expected()));
  });

  test("labels of int32 are int64 for the loss, which refuses them otherwise", async () => {
    const y = worker.tensor(Int32Array.from(labels.data, Number)) as unknown as AnyRef;
    const loss = toLoss(worker, crossEntropy());
    const found = await loss(logits, toTargets(crossEntropy(), y, "int32")).item();
    expect(found).toBe(await F.cross_entropy(logits, classes()).item());
    expect((await caught(() => loss(logits, y))).code).toBe("PYTHON");
  });

  test("0/1 labels of bytes are floats for bceWithLogits", async () => {
    const hot: NDArray = { dtype: "uint8", shape: [6, 3], data: Uint8Array.from({ length: 18 }, (_, i) => i % 2) };
    const ys = toTargets(bceWithLogits(), worker.tensor(hot) as unknown as AnyRef, hot.dtype);
    const expected = F.binary_cross_entropy_with_logits(logits, (worker.tensor(hot) as unknown as AnyRef).float());
    expect(await toLoss(worker, bceWithLogits())(logits, ys).item()).toBe(await expected.item());
  });

  test("a step's loss is one operation, with its tensors made beforehand and alive beyond the scope", async () => {
    const loss = worker.scope(() => toLoss(worker, crossEntropy({ weight: tensor, reduction: "sum" })));
    const ys = await classes();
    expect(await operationsOf(worker, () => void loss(logits, ys))).toBe(1);
    expect(await loss(logits, ys).item()).toBe(
      await F.cross_entropy(logits, ys, kw({ weight: weight(), reduction: "sum" })).item(),
    );
  });

  test("its tensors are where the model is", async () => {
    const loss = toLoss(worker, crossEntropy({ weight: tensor }), "meta");
    expect(await loss(logits.to("meta"), classes().to("meta")).device.type).toBe("meta");
  });

  test("a function of references is called with them", async () => {
    const loss = toLoss(worker, (yhat, ys) => F.huber_loss(yhat, ys).mul(2));
    expect(await loss(logits, soft()).item()).toBe(await F.huber_loss(logits, soft()).mul(2).item());
  });

  test("a module in the worker is called as it is", async () => {
    const module = torch.nn.CrossEntropyLoss(kw({ label_smoothing: 0.5 }));
    expect(toTargets(module, logits, "uint8")).toBe(logits);
    expect(await toLoss(worker, module)(logits, classes()).item()).toBe(
      await F.cross_entropy(logits, classes(), kw({ label_smoothing: 0.5 })).item(),
    );
  });

  test.each<[string, unknown, RegExp]>([
    [
      "an async function",
      async (yhat: AnyRef) => yhat,
      /^the loss function gave a Promise; it must return a reference at once: leave async and await out/,
    ],
    ["a function without return", () => undefined, /^the loss function gave undefined; .*is a return missing\?$/],
    ["a function of numbers", () => 1, /^the loss function gave 1; it must return a reference, such as F\.mse_loss/],
    ["a factory that was not called", crossEntropy, /^crossEntropy takes an object of options, not \[PyRef #\d+/],
    ["a name", "mse", /^the loss is 'mse'; it must be crossEntropy\(\) or its like, a function/],
    ["nothing", undefined, /^the loss is undefined; /],
  ])("%s is refused", async (_what, loss, message) => {
    const error = await caught(() => void toLoss(worker, loss as Loss)(logits, logits));
    expect(error.message).toMatch(message);
    expect(error.code).toBe("MISUSE");
  });
});
