/** Ambient state of the worker: it holds for the operations made inside, and for no others. */
import { beforeAll, describe, expect, test } from "vitest";
import { kw, py, type Worker } from "torchwire";
import type { ContextOptions } from "torchwire/bridge";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, countsOf, operationsOf, untyped } from "../../observed.ts";
import { turn } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let builtins: AnyRef;
let torch: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  builtins = worker.import("builtins");
  torch = untyped(worker, "torch");
});

/** Whether gradients are on, and whether inference mode is, here. */
const modes = async (): Promise<[boolean, boolean]> =>
  await Promise.all([torch.is_grad_enabled(), torch.is_inference_mode_enabled()]);

describe("mode", () => {
  test("inference, no_grad and grad, inside and not outside", async () => {
    expect(await modes()).toEqual([true, false]);
    expect(await worker.context({ mode: "inference" }, modes)).toEqual([false, true]);
    expect(await worker.context({ mode: "no_grad" }, modes)).toEqual([false, false]);
    expect(await worker.context({ mode: "grad" }, modes)).toEqual([true, false]);
    expect(await worker.context({}, modes)).toEqual([true, false]);
    expect(await modes()).toEqual([true, false]);
  });

  test("the innermost wins, and leaving it gives back the outer one", async () => {
    const seen: unknown[] = [];
    const look = async (): Promise<void> => void seen.push(await modes());
    await worker.context({ mode: "no_grad" }, async () => {
      await look();
      await worker.context({ mode: "grad" }, async () => {
        await look();
        await worker.context({ mode: "inference" }, look);
        await look();
      });
      await look();
    });
    await look();
    expect(seen).toEqual([
      [false, false],
      [true, false],
      [false, true],
      [true, false],
      [false, false],
      [true, false],
    ]);
  });

  test("it reaches what was written inside, whenever it is sent and awaited", async () => {
    const layer = torch.nn.Linear(2, 2);
    const x = torch.ones(1, 2);
    const before = layer(x);
    const inside = await worker.context({ mode: "no_grad" }, () => [layer(x)] as const);
    const after = layer(x);
    expect(await Promise.all([before.requires_grad, inside[0].requires_grad, after.requires_grad])).toEqual([
      true,
      false,
      true,
    ]);
  });

  test("it lasts across awaits, timers and scopes inside", async () => {
    await worker.context({ mode: "inference" }, async () => {
      expect(await modes()).toEqual([false, true]);
      await turn();
      await new Promise((resolve) => setTimeout(resolve, 2));
      expect(await modes()).toEqual([false, true]);
      await worker.scope(async () => expect(await modes()).toEqual([false, true]));
    });
    expect(await modes()).toEqual([true, false]);
  });

  test("two tasks at once are each in their own", async () => {
    const task = (mode: "inference" | "no_grad" | "grad", expected: [boolean, boolean]): Promise<void> =>
      worker.context({ mode }, async () => {
        for (let i = 0; i < 10; i++) {
          expect(await modes()).toEqual(expected);
          await turn();
        }
      });
    await Promise.all([
      task("inference", [false, true]),
      task("no_grad", [false, false]),
      task("grad", [true, false]),
      worker.lane(() => task("no_grad", [false, false])),
    ]);
  });

  test("the result is that of the function, and its error passes through", async () => {
    expect(await worker.context({}, () => 1)).toBe(1);
    expect(await worker.context({ mode: "no_grad" }, async () => await builtins.abs(-2))).toBe(2);
    const thrown = new Error("mine");
    expect(
      await caught(() =>
        worker.context({ mode: "no_grad" }, () => {
          throw thrown;
        }),
      ),
    ).toBe(thrown);
    expect(await modes()).toEqual([true, false]);
  });
});

describe("eval and train", () => {
  /** Whether it, its first, its second and the second's own layer are in train mode. */
  const training = async (model: AnyRef): Promise<unknown> =>
    await py.js(builtins.list(builtins.map(builtins.eval("lambda m: m.training"), model.modules())));

  async function mixed(): Promise<AnyRef[]> {
    const { nn } = torch;
    const model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.5)));
    model[1].eval();
    model[1][0].train();
    expect(await training(model)).toEqual([true, true, false, true]);
    return [model];
  }

  test("every part is in eval mode inside, and gets its own mode back", async () => {
    const [model] = (await mixed()) as [AnyRef];
    expect(await worker.context({ eval: [model] }, () => training(model))).toEqual([false, false, false, false]);
    expect(await training(model)).toEqual([true, true, false, true]);
    expect(await worker.context({ train: [model] }, () => training(model))).toEqual([true, true, true, true]);
    expect(await training(model)).toEqual([true, true, false, true]);
  });

  test("a part alone, several models, and train inside eval", async () => {
    const [model] = (await mixed()) as [AnyRef];
    const [other] = (await mixed()) as [AnyRef];
    const inside = await worker.context({ eval: [model, other] }, async () => [
      await training(model),
      await training(other),
      await worker.context({ train: [model[1]] }, () => training(model)),
      await training(model),
    ]);
    expect(inside).toEqual([
      [false, false, false, false],
      [false, false, false, false],
      [false, false, true, true],
      [false, false, false, false],
    ]);
    expect([await training(model), await training(other)]).toEqual([
      [true, true, false, true],
      [true, true, false, true],
    ]);
  });

  test("an error inside gives each part its own mode back too", async () => {
    const [model] = (await mixed()) as [AnyRef];
    const error = await caught(() =>
      worker.context({ eval: [model], mode: "inference", rng: "fork" }, async () => void (await model(torch.ones(3)))),
    );
    expect(error).toMatchObject({ code: "PYTHON", pyType: "RuntimeError" });
    expect(await training(model)).toEqual([true, true, false, true]);
    expect(await modes()).toEqual([true, false]);
  });

  test("a module that was made just before is entered too, in the same batch or not", async () => {
    const model = torch.nn.Dropout(0.5);
    const y = await worker.context({ eval: [model] }, async () => await py.ndarray(model(torch.ones(100))));
    expect(y.data.every((value) => value === 1)).toBe(true);
  });

  test("what has no modules fails as the first operation inside does", async () => {
    const list = builtins.list();
    const error = await caught(() => worker.context({ eval: [list] }, async () => void (await builtins.abs(1))));
    expect(error).toMatchObject({ pyType: "AttributeError" });
    expect(await builtins.abs(-1)).toBe(1);
  });
});

describe("rng", () => {
  /** The next random numbers of torch, Python and NumPy. */
  async function draw(): Promise<number[]> {
    const drawn = [torch.rand(1).item(), worker.import("random").random(), worker.import("numpy").random.random()];
    return await Promise.all(drawn);
  }

  function seed(n: number): void {
    torch.manual_seed(n);
    worker.import("random").seed(n);
    worker.import("numpy").random.seed(n);
  }

  test("what is drawn inside a fork leaves the generators outside untouched", async () => {
    seed(1);
    const expected = [await draw(), await draw()];
    seed(1);
    const found = [await draw()];
    await worker.context({ rng: "fork" }, async () => {
      await draw();
      seed(7);
      await draw();
    });
    found.push(await draw());
    expect(found).toEqual(expected);
  });

  test("without the fork it does not", async () => {
    seed(1);
    const expected = [await draw(), await draw()];
    seed(1);
    const first = await draw();
    await worker.context({ mode: "no_grad" }, draw);
    expect(first).toEqual(expected[0]);
    expect(await draw()).not.toEqual(expected[1]);
  });

  test("inside, the numbers go on from batch to batch, as if nobody drew outside", async () => {
    seed(2);
    const sequence = [await draw(), await draw(), await draw()];
    seed(2);
    const inside: number[][] = [];
    const outside: number[][] = [];
    let entered!: () => void;
    const isInside = new Promise<void>((resolve) => (entered = resolve));
    const forked = worker.context({ rng: "fork" }, async () => {
      for (let i = 0; i < 3; i++) {
        inside.push(await draw());
        entered();
        await turn();
      }
    });
    await isInside;
    for (let i = 0; i < 3; i++) outside.push(await draw());
    await forked;
    expect(inside).toEqual(sequence);
    expect(outside).toEqual(sequence);
  });

  test("a second context forks anew", async () => {
    seed(3);
    const next = await worker.context({ rng: "fork" }, draw);
    expect(await worker.context({ rng: "fork" }, draw)).toEqual(next);
    expect(await draw()).toEqual(next);
    expect(await worker.context({ rng: "fork" }, draw)).not.toEqual(next);
  });

  test("a fork inside a fork leaves the outer one untouched", async () => {
    seed(4);
    const sequence = [await draw(), await draw()];
    seed(4);
    const found = await worker.context({ rng: "fork" }, async () => {
      const first = await draw();
      await worker.context({ rng: "fork" }, draw);
      return [first, await draw()];
    });
    expect(found).toEqual(sequence);
    expect(await draw()).toEqual(sequence[0]);
  });

  test("an error inside gives the generators back too", async () => {
    seed(5);
    const next = await draw();
    seed(5);
    await caught(() =>
      worker.context({ rng: "fork" }, async () => {
        torch.rand(3);
        await torch.nope;
      }),
    );
    expect(await draw()).toEqual(next);
  });
});

describe("options", () => {
  test.each<[unknown, string]>([
    [{ mode: "eval" }, `context: mode is "eval"; it may be "inference", "no_grad" or "grad"`],
    [{ mode: true }, "context: mode is true"],
    [{ mode: null }, "context: mode is null"],
    [{ rng: "keep" }, `context: rng is "keep"; it may be "fork"`],
    [{ rng: true }, "context: rng is true"],
    [{ eval: [1] }, "context: eval[0] is not a reference to a module"],
    [{ train: [undefined] }, "context: train[0] is not a reference to a module"],
    [{ eval: "model" }, "context: eval"],
    [{ eval: {} }, "context: eval"],
  ])("%o is refused: nothing runs, nothing is queued", async (options, message) => {
    let ran = false;
    let error: unknown;
    const queued = await operationsOf(worker, async () => {
      error = await caught(() =>
        worker.context(options as ContextOptions, () => {
          ran = true;
        }),
      );
    });
    expect(error).toMatchObject({ code: "MISUSE", message: expect.stringContaining(message) });
    expect([ran, queued]).toEqual([false, 0]);
  });

  test("a model that stands by itself is refused, with what to write", async () => {
    const model = await torch.nn.Linear(1, 1);
    let error: unknown;
    const queued = await operationsOf(worker, async () => {
      error = await caught(() => worker.context({ eval: model }, () => 1));
    });
    expect(error).toMatchObject({ code: "MISUSE", message: expect.stringContaining("eval: [model]") });
    expect(queued).toBe(0);
  });

  test("a module that is gone is refused", async () => {
    const model = torch.nn.Linear(1, 1);
    model[Symbol.dispose]();
    expect(await caught(() => worker.context({ eval: [model] }, () => 1))).toMatchObject({ code: "NO_VALUE" });
  });

  test("a context is no batch of its own: what is written in one goes out together", async () => {
    const x = torch.ones(2, kw({ requires_grad: true }));
    const before = await countsOf(worker);
    await worker.context({ mode: "no_grad", rng: "fork" }, async () => {
      const y = x.add(1).mul(2);
      await Promise.all([y.sum().item(), y.requires_grad]);
    });
    const after = await countsOf(worker);
    expect([after.batches - before.batches, after.roundTrips - before.roundTrips]).toEqual([2, 2]);
  });
});
