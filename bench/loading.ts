/** Images from files to a batch where the model is, against Pillow and against torchvision's ImageFolder in a DataLoader. */
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { DataLoader, imageFolder, spawnWorker, type AnyRef, type Worker } from "torchwire";
import type { Dataset } from "torchwire/data";
import { same } from "torchwire/formats";
import { outputs } from "torchwire/model";
import { photographs } from "./photos.ts";
import { measure, type Measured, type Opened, type Readings, type Variant } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { usageOf } from "./usage.ts";

const STARTS = 2;
const IMAGES = 192;
const SIZE = 224;
const BATCH = 48;
const WORKERS = 2;

export async function measureLoading(surroundings: Surroundings): Promise<Measured[]> {
  const folder = await photographs(IMAGES);
  try {
    return await measure(
      () => open(surroundings, folder),
      surroundings.quick ? 1 : STARTS,
      surroundings,
      (text) => surroundings.progress(`loading: ${text}`),
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function open({ python, sawVersions }: Surroundings, folder: string): Promise<Opened> {
  const worker = await spawnWorker({ python, device: "cpu", seed: 0 });
  sawVersions(worker.versions);
  const pil = await Program.open(python, ["pil", folder]);
  const loader = await Program.open(python, ["loader", folder, String(WORKERS)]);
  const ours: Variant[] = [
    through(worker, "torchwire, decoded by sharp", await imageFolder(folder, { size: SIZE })),
    through(worker, 'torchwire, decode: "worker"', await imageFolder(folder, { size: SIZE, decode: "worker" })),
  ];
  for (const { run } of ours) await run();
  const contest = (name: string, reference: Variant): Opened["contests"][number] => ({
    name: `JPEG, 500 × 375 to ${SIZE} × ${SIZE}, against ${name}`,
    primary: "images/s a core",
    better: "higher",
    reference: reference.name,
    columns: ["images/s a core", "images/s"],
    variants: [reference, ...ours],
    facts: { images: IMAGES, batch: BATCH },
  });
  return {
    contests: [
      contest("torchvision's DataLoader", loader.variant(`ImageFolder, DataLoader with ${WORKERS} workers`)),
      contest("Pillow", pil.variant("Pillow, in one process")),
    ],
    pids: [worker.pid, ...pil.pids, ...loader.pids],
    async close() {
      await Promise.all([worker.close(), pil.close(), loader.close()]);
    },
  };
}

/** Goes through `data` once; the worker picks one pixel of each image, so that nothing else comes back. */
function through(worker: Worker, name: string, data: Dataset<any>): Variant {
  const batches = new DataLoader(data, { batchSize: BATCH, shuffle: true });
  const identity = worker.import("torch").nn.Identity();
  const select = (y: AnyRef): AnyRef => y.select(1, 0).select(1, 0) as AnyRef;
  return {
    name,
    run: () =>
      timed([worker.pid], true, async () => {
        const { shape } = await outputs(identity, batches, { input: same, select });
        return shape[0]!;
      }),
  };
}

/** `load_images.py`, which waits for a line before each pass. */
class Program {
  readonly pids: readonly number[];
  readonly #ask: () => Promise<number>;
  readonly close: () => Promise<void>;

  private constructor(pids: readonly number[], ask: () => Promise<number>, close: () => Promise<void>) {
    this.pids = pids;
    this.#ask = ask;
    this.close = close;
  }

  static async open(python: string, [kind, folder, ...more]: readonly string[]): Promise<Program> {
    const script = fileURLToPath(new URL("programs/load_images.py", import.meta.url));
    const child = execa(python, [script, kind!, folder!, String(SIZE), String(BATCH), ...more], { stderr: "inherit" });
    child.catch(() => undefined);
    const lines = child.iterable();
    const next = async (): Promise<string> => {
      const { value, done } = await lines.next();
      if (done) throw new Error(`${script} ended`);
      return value;
    };
    const pids = (await next()).split(" ").map(Number);
    const ask = async (): Promise<number> => {
      child.stdin.write("\n");
      return Number(await next());
    };
    return new Program(pids, ask, async () => {
      child.stdin.end();
      await child;
    });
  }

  variant(name: string): Variant {
    return { name, run: () => timed(this.pids, false, this.#ask) };
  }
}

/** `pass` gives the number of its images. The CPU time is that of `pids` and, of our own side, of this process. */
async function timed(pids: readonly number[], here: boolean, pass: () => Promise<number>): Promise<Readings> {
  const cpu = (): number => {
    const { user, system } = process.cpuUsage();
    return pids.reduce((sum, pid) => sum + (usageOf(pid)?.cpuSeconds ?? NaN), here ? (user + system) / 1e6 : 0);
  };
  const [before, start] = [cpu(), performance.now()];
  const images = await pass();
  const seconds = (performance.now() - start) / 1000;
  return { "images/s a core": images / (cpu() - before), "images/s": images / seconds };
}
