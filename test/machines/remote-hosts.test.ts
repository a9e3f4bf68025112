/**
 * A worker on another machine, over CURVE with keys. The cable is out for ten seconds in mid-training, and the weights
 * do not show it.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { built } from "../built.ts";
import { trainByHand } from "../fixtures/faults/trainings.ts";
import { describeWithHosts, Hosts } from "../fixtures/hosts.ts";
import { runClient, type Line } from "../fixtures/life/script.ts";
import { Keys, serve } from "../fixtures/served.ts";
import { testWorker } from "../worker.ts";

const STEPS = 200;
const OUT_MS = 10_000;
/** So many may be on their way to us when the cable is pulled. */
const ON_THE_WAY = 3;
const program = built("test/fixtures/faults/train.ts");

describeWithHosts("a worker on another host", () => {
  test("trains on, bit for bit, when the cable has been out for ten seconds", async () => {
    using hosts = new Hosts();
    using keys = new Keys("laptop");
    await using served = await serve({ on: hosts.gpuBox, keys: keys.folder });
    const [first, ...inside] = hosts.laptop.inside;
    const script = runClient(
      String(STEPS),
      { TORCHWIRE_WORKER: served.address, TORCHWIRE_PROFILE: "laptop", TORCHWIRE_CONFIG: keys.config },
      { program, command: [first, ...inside, process.execPath] },
    );
    const said: Line[] = [];
    const steps = (): number => said.filter(({ step }) => step !== undefined).length;
    const over = (async () => {
      while (said.at(-1)?.["trained"] === undefined) said.push(await script.said());
    })();
    // Its error, if it has one, is told below.
    over.catch(() => undefined);
    const reached = async (count: number): Promise<void> => {
      while (steps() < count) await Promise.race([sleep(20), over]);
    };
    await reached(STEPS / 4);
    hosts.pull();
    await sleep(200);
    const before = steps();
    await sleep(OUT_MS - 200);
    expect(steps()).toBeLessThanOrEqual(before + ON_THE_WAY);
    expect(steps()).toBeLessThan(STEPS);
    hosts.plug();
    await over;
    expect((await script.ended).code).toBe(0);

    expect(said.flatMap(({ step }) => (step === undefined ? [] : [step]))).toEqual(
      Array.from({ length: STEPS }, (_, i) => i),
    );
    expect(said.flatMap(({ link }) => (link === undefined ? [] : [link])).slice(0, 2)).toEqual(["connecting", "up"]);
    const { trained, batches, ran } = said.at(-1)!;
    expect(ran).toBe(batches);
    await using worker = await testWorker();
    expect(trained).toEqual(await trainByHand(worker, { seed: 1, steps: STEPS }));
  });
});
