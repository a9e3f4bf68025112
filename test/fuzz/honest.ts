/**
 * An honest client that works with the worker meanwhile. It has a process of its own, so that it measures the worker's
 * time and not ours: `honest.ts ADDRESS PROFILE`, without an address with one that it starts. Says `{ pid }`; then, for
 * each line it reads, the latencies of its round trips since the last one.
 */
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { connectWorker, py, spawnWorker } from "torchwire";

const [address = "", profile = ""] = process.argv.slice(2);
const settings = { device: "cpu", threads: 1 } as const;
const worker =
  address === ""
    ? await spawnWorker({ ...settings, transport: "tcp" })
    : await connectWorker(address, { ...settings, timeout: 30_000, ...(profile === "" ? {} : { profile }) });
const torch = worker.import("torch");
const x = worker.tensor([1, 2, 3]);
const say = (what: object): void => console.log(JSON.stringify(what));
const over = new AbortController();
let latencies: number[] = [];

async function work(): Promise<void> {
  for (let i = 0; !over.signal.aborted; i++) {
    const start = performance.now();
    const sum = await worker.scope(() => py.js(torch.mul(x, i).sum().item()));
    latencies.push(performance.now() - start);
    if (sum !== 6 * i) throw new Error(`6 * ${i} came back as ${String(sum)}`);
    await sleep(1);
  }
}

const working = work();
await x.sum().item();
say({ pid: worker.pid });
for await (const _ of createInterface({ input: process.stdin })) {
  const sorted = latencies.toSorted((a, b) => a - b);
  latencies = [];
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
  say({ count: sorted.length, p50: at(0.5), p99: at(0.99), most: at(1) });
}
over.abort();
await working;
await worker.close();
