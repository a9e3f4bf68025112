/** The same steps and the same bytes over each way to a worker, against the sockets in a private folder. */
import { readdirSync } from "node:fs";
import { connectWorker, py, spawnWorker, type Worker } from "torchwire";
import { lend } from "torchwire/bridge";
import { parentOf } from "./usage.ts";
import { Keys, serve } from "../test/fixtures/served.ts";
import { noSshd, SshHost } from "../test/fixtures/ssh/world.ts";
import { rgbDigits } from "../test/training.ts";
import { byteContest, bytesOf, SIZES } from "./bytes.ts";
import { measure, type Contest, type Measured, type Opened } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { stream } from "./stream.ts";
import { TorchwireLoop, type Images } from "./torchwire-loop.ts";

const STARTS = 2;
const BATCH = 64;
const IMAGES = 2000;
/** The number of steps in flight. */
const WINDOW = 3;
const WARM_UP_STEPS = 20;
/** All sides use this many threads, whatever they would choose. */
const THREADS = 1;

interface Transport {
  readonly name: string;
  readonly worker: Worker;
  /** Removes what was made for it, after the worker has ended. */
  readonly close: () => Promise<void>;
}

export async function measureTransports(surroundings: Surroundings): Promise<Measured[]> {
  const images = await rgbDigits(IMAGES);
  return measure(
    () => open(images, surroundings),
    surroundings.quick ? 1 : STARTS,
    surroundings,
    (text) => surroundings.progress(`transports: ${text}`),
  );
}

async function open(images: Images, { python, runSeconds, sawVersions, progress }: Surroundings): Promise<Opened> {
  const settings = { device: "cpu", seed: 0, threads: THREADS } as const;
  const nothing = (): Promise<void> => Promise.resolve();
  const transports: Transport[] = [
    { name: "ipc", worker: await spawnWorker({ ...settings, python, transport: "ipc" }), close: nothing },
    { name: "tcp, loopback", worker: await spawnWorker({ ...settings, python, transport: "tcp" }), close: nothing },
    await overCurve(python, settings),
  ];
  if (noSshd === undefined) transports.push(await overSsh(python, settings));
  else progress(`transports: not over ssh: ${noSshd}\n`);
  sawVersions(transports[0]!.worker.versions);

  const contests = [await stepContest(transports, images, runSeconds)];
  for (const size of SIZES) contests.push(await bytesByEach(transports, size, runSeconds));
  return {
    contests,
    // ssh, sshd and the serving process are our children, or theirs.
    pids: [...new Set([...descendantsOf(process.pid), ...transports.map(({ worker }) => worker.pid)])],
    async close() {
      for (const { worker, close } of transports) {
        await worker.close();
        await close();
      }
    },
  };
}

type Settings = Parameters<typeof spawnWorker>[0];

async function overCurve(python: string, settings: Settings): Promise<Transport> {
  const keys = new Keys("bench");
  const served = await serve({ python, keys: keys.folder });
  const before = process.env["TORCHWIRE_CONFIG"];
  process.env["TORCHWIRE_CONFIG"] = keys.config;
  const worker = await connectWorker(served.address, { ...settings, profile: "bench", timeout: 30_000 });
  if (before === undefined) delete process.env["TORCHWIRE_CONFIG"];
  else process.env["TORCHWIRE_CONFIG"] = before;
  const close = async (): Promise<void> => {
    await served[Symbol.asyncDispose]();
    keys[Symbol.dispose]();
  };
  return { name: "CURVE, loopback", worker, close };
}

async function overSsh(python: string, settings: Settings): Promise<Transport> {
  const host = await SshHost.start({ env: { TORCHWIRE_PYTHON: python } });
  const worker = await spawnWorker({ ...settings, ssh: host.target() });
  return { name: "ssh, loopback", worker, close: () => Promise.resolve(host[Symbol.dispose]()) };
}

async function stepContest(transports: readonly Transport[], images: Images, runSeconds: number): Promise<Contest> {
  const loops = transports.map(({ name, worker }) => ({
    name,
    loop: TorchwireLoop.on(worker, THREADS, { model: "cnn", batch: BATCH, images }),
  }));
  for (const { loop } of loops) await loop.run(WARM_UP_STEPS, WINDOW);
  const { readings } = await loops[0]!.loop.run(WARM_UP_STEPS, WINDOW);
  const steps = Math.max(3, Math.round((1000 * runSeconds) / readings["ms/step"]!));
  return {
    name: `cnn, batch ${BATCH}`,
    primary: "ms/step",
    better: "lower",
    reference: transports[0]!.name,
    columns: ["ms/step", "client CPU ms/step"],
    variants: loops.map(({ name, loop }) => ({ name, run: async () => (await loop.run(steps, WINDOW)).readings })),
    facts: { "steps in a run": steps, "in flight": WINDOW, threads: THREADS },
  };
}

function bytesByEach(transports: readonly Transport[], size: number, runSeconds: number): Promise<Contest> {
  const bytes = lend({ dtype: "uint8", shape: [size], data: bytesOf(size) });
  return byteContest(
    size,
    transports.map(({ name, worker }) => ({
      name,
      stream: (window) => stream(runSeconds, window, () => worker.scope(() => py.js(worker.tensor(bytes).numel()))),
    })),
  );
}

/** Every process that descends from `pid`; Linux only. */
function descendantsOf(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of processNames()) {
    const parent = parentOf(Number(name));
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const all = (of: number): number[] => (children.get(of) ?? []).flatMap((child) => [child, ...all(child)]);
  return all(pid);
}

function processNames(): string[] {
  try {
    return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    // The system is not Linux.
    return [];
  }
}
