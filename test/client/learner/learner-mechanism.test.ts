/** One mechanism: what a fit sends is what the loop sends that one would write by hand. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  accuracy,
  crossEntropy,
  DataLoader,
  kw,
  Learner,
  Metrics,
  py,
  PyTorchBackend,
  Recorder,
  sgd,
  StopOnNaNLoss,
  type NDArray,
  type Worker,
} from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { countsOf, untyped } from "../../observed.ts";
import { Wiretap, type Sent } from "../../wiretap.ts";
import { testWorker } from "../../worker.ts";

const tap = new Wiretap();
let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await testWorker();
  torch = untyped(worker, "torch");
});
afterAll(() => worker?.close());

describe("the operations are those of the loop that one writes by hand, on the wire, batch for batch", () => {
  const W = 3;
  const pixels = {
    dtype: "uint8",
    shape: [22, 8, 8, 1],
    data: Uint8Array.from({ length: 22 * 64 }, (_, i) => i),
  } as const;
  const labels = { dtype: "uint8", shape: [22], data: Uint8Array.from({ length: 22 }, (_, i) => i % 10) } as const;
  /** Five batches of 4, and one of 2. */
  const images = (shuffle: boolean): DataLoader =>
    new DataLoader({ xs: pixels, ys: labels }, { batchSize: 4, shuffle, seed: 3 });

  interface Setting {
    readonly accumulate: number;
    readonly clip: number | undefined;
    readonly countsRight: boolean;
    /** A mistake that the test must find. */
    readonly fault?: "no zero_grad" | "loss is read twice" | "another order" | "no fork";
  }

  const model = (): AnyRef => torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10));

  function fit({ accumulate, clip, countsRight }: Setting): () => Promise<unknown> {
    const learner = new Learner(model(), crossEntropy(), {
      data: { training: images(true), validation: images(false) },
      optimizer: sgd({ lr: 0.1, momentum: 0.9 }),
      defaultCallbacks: false,
      window: W,
      callbacks: [
        new StopOnNaNLoss(),
        new Recorder(),
        new Metrics(...(countsRight ? [accuracy] : [])),
        new PyTorchBackend({ accumulate, ...(clip === undefined ? {} : { clipGradNorm: clip }) }),
      ],
    });
    return () => learner.fit(2);
  }

  function byHand({ accumulate, clip, countsRight, fault }: Setting): () => Promise<unknown> {
    const net = model();
    const optimizer = torch.optim.SGD(net.parameters(), kw({ lr: 0.1, momentum: 0.9 }));
    const F = untyped(worker, "torch.nn.functional");
    const refuse = untyped(worker, "torchwire_worker.helpers.training").refuse_nan;
    const weigher = untyped(worker, "torchwire_worker.helpers.denominators").weigher_of(
      "torch.nn.functional",
      "cross_entropy",
      null,
      [],
      {},
    );
    const refuseNaN = (loss: AnyRef, yhat: AnyRef, y: AnyRef): unknown => refuse(loss, [net], weigher, yhat, y);
    const clipGradients = untyped(worker, "torchwire_worker.helpers.optim").clip_gradients;
    const training = images(true);
    const validation = images(false);

    const issued: PromiseLike<unknown>[] = [];
    const values: PromiseLike<unknown>[] = [];
    const room = async (): Promise<void> => {
      while (issued.length >= W) await issued.shift();
    };
    const converted = ({ xs, ys }: { xs: NDArray; ys: NDArray }): [AnyRef, AnyRef] => {
      const x = asAny(worker.tensor(xs)).permute(0, 3, 1, 2).contiguous().float().div(255);
      return [x, asAny(worker.tensor(ys)).long()];
    };
    const ask = (loss: AnyRef, yhat: AnyRef, y: AnyRef): void => {
      if (countsRight) {
        const detached = untyped(worker, "torchwire_worker.helpers.metrics").detached(yhat);
        values.push(
          py.js(
            untyped(worker, "torchwire_worker.helpers.metrics").hits(detached, y, 1, [
              "cross_entropy",
              null,
              null,
              null,
              null,
            ]),
          ),
        );
      }
      const counted = (): PromiseLike<unknown> => py.js(weigher.counted(loss, yhat, y, false));
      issued.push(counted());
      if (fault === "loss is read twice") issued.push(counted());
    };
    const trainOn = async (group: readonly { xs: NDArray; ys: NDArray }[]): Promise<void> => {
      for (const [i, batch] of group.entries()) {
        await room();
        worker.scope(() => {
          const [x, y] = converted(batch);
          const yhat = net(x);
          const loss = F.cross_entropy(yhat, y);
          if (i === 0 && fault !== "no zero_grad") optimizer.zero_grad();
          (group.length === 1 ? loss : loss.div(group.length)).backward();
          const last = i === group.length - 1;
          if (fault === "another order") refuseNaN(loss, yhat, y);
          if (clip !== undefined && last) clipGradients(optimizer, py.float(clip), null);
          if (fault !== "another order") refuseNaN(loss, yhat, y);
          if (last) optimizer.step();
          ask(loss, yhat, y);
        });
      }
    };

    return () =>
      worker.lane(async () => {
        for (let epoch = 0; epoch < 2; epoch++) {
          worker.scope(() => void net.train());
          let group: { xs: NDArray; ys: NDArray }[] = [];
          for await (const batch of training) {
            group.push(batch);
            if (group.length === accumulate) await trainOn(group.splice(0));
          }
          if (group.length > 0) await trainOn(group);
          await Promise.all(issued.splice(0));
          const fork = fault === "no fork" ? {} : ({ rng: "fork" } as const);
          await worker.context({ mode: "no_grad", eval: [net], ...fork }, async () => {
            for await (const batch of validation) {
              await room();
              worker.scope(() => {
                const [x, y] = converted(batch);
                const yhat = net(x);
                ask(F.cross_entropy(yhat, y), yhat, y);
              });
            }
            await Promise.all(issued.splice(0));
          });
        }
        await Promise.all(values);
      });
  }

  /** The operations that `run` sends, without those that its making queued. */
  const sentBy = async (run: () => Promise<unknown>): Promise<Sent[]> => {
    await countsOf(worker);
    return tap.during(run);
  };

  const asAny = (tensor: object): AnyRef => tensor as AnyRef;
  const settings: { readonly [title: string]: Setting } = {
    "the default callbacks": { accumulate: 1, clip: undefined, countsRight: false },
    "with a metric": { accumulate: 1, clip: undefined, countsRight: true },
    "with accumulation and clipping": { accumulate: 4, clip: 0.5, countsRight: true },
  };

  test.each(Object.entries(settings))("%s", async (_, setting) => {
    const theirs = await sentBy(byHand(setting));
    const ours = await sentBy(fit(setting));
    // Two epochs of six batches in training and six in validation, and the two calls of train().
    expect(theirs).toHaveLength(2 * (6 + 6 + 1));
    expect(theirs.filter(({ urgent }) => urgent)).toEqual([]);
    expect(ours).toEqual(theirs);
  });

  test.each(["no zero_grad", "loss is read twice", "another order", "no fork"] as const)(
    "and a difference is seen: %s",
    async (fault) => {
      const setting = settings["with accumulation and clipping"]!;
      const theirs = await sentBy(byHand({ ...setting, fault }));
      const ours = await sentBy(fit(setting));
      expect(ours).not.toEqual(theirs);
    },
  );
});
