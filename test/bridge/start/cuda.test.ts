/** Behaviour that needs a CUDA device. Everywhere else these are skipped, and say why. */
import { afterAll, beforeAll, expect, test, type TestContext } from "vitest";
import { kw, py, type Worker } from "torchwire";
import { testWorker } from "../../worker.ts";

let worker: Worker;
beforeAll(async () => {
  worker = await testWorker({ device: "auto" });
});
afterAll(() => worker.close());

function needsCuda({ skip }: TestContext): void {
  if (!worker.device.startsWith("cuda")) skip("this machine has no CUDA device");
}

test("device auto is cuda where there is one, and the model's memory is there", async (context) => {
  needsCuda(context);
  const torch = worker.import("torch");
  const before = await torch.cuda.memory_allocated();
  const layer = torch.nn.Linear(1000, 1000).to(worker.device);
  expect(await py.str(layer.weight.device)).toContain("cuda");
  expect(await torch.cuda.memory_allocated()).toBeGreaterThanOrEqual(before + 4_000_000);
});

test("a model trains there: the loss falls, and a scope gives its memory back", async (context) => {
  needsCuda(context);
  const torch = worker.import("torch");
  const model = torch.nn.Linear(10, 1).to(worker.device);
  const optimizer = torch.optim.SGD(model.parameters(), kw({ lr: 0.1 }));
  const x = torch.randn(64, 10).to(worker.device);
  const y = x.sum(1, kw({ keepdim: true }));
  const step = () =>
    worker.scope(() => {
      const loss = torch.nn.functional.mse_loss(model(x), y);
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
      return py.js(loss.item());
    });
  const first = (await step()) as number;
  const allocated = await torch.cuda.memory_allocated();
  let last = first;
  for (let i = 0; i < 50; i++) last = (await step()) as number;
  expect(last).toBeLessThan(first / 10);
  expect(await torch.cuda.memory_allocated()).toBe(allocated);
});

test("forking random numbers leaves the device's generator untouched", async (context) => {
  needsCuda(context);
  const torch = worker.import("torch");
  const draw = () => py.ndarray(torch.randn(4, kw({ device: worker.device })));
  torch.manual_seed(1);
  const expected = [await draw(), await draw()];
  torch.manual_seed(1);
  const first = await draw();
  await worker.context({ rng: "fork" }, draw);
  expect([first, await draw()]).toEqual(expected);
});
