/**
 * The program that is disturbed: `program.ts SETTING`, with a Setting as JSON. It prints its outcome as JSON. At its
 * place it makes the file `reached`, and stands still there until that is gone.
 *
 * With `alone` it is left alone: it trains without a folder, then with one where each checkpoint stays, and then from
 * the weights of each of these alone, everything else cold.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { appendFile, readdir, readFile, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import {
  callback,
  connectWorker,
  py,
  spawnWorker,
  type AnyRef,
  type Callback,
  type Learner,
  type Worker,
} from "torchwire";
import { weightsHash } from "../training.ts";
import { EPOCHS, kindOf, learnerOf } from "./kinds.ts";

export interface Place {
  readonly name: string;
  /** How often this process has passed it. */
  readonly number: number;
}

export interface Setting {
  readonly kind: string;
  /** All that the run leaves behind: `run`, its checkpoints, and `logs`. */
  readonly folder: string;
  /** The process id of the worker, the lines of the updates, and `reached`. */
  readonly notes: string;
  /** The Python file with the hooks. */
  readonly hooks: string;
  readonly alone?: boolean;
  readonly place?: Place | undefined;
  /** Of a worker that serves. */
  readonly address?: string | undefined;
}

/** Hashes, or all of it where it is small. */
export interface Outcome {
  readonly weights: string;
  readonly optimizer: string;
  readonly state: string;
  readonly report: unknown;
  readonly resumed: unknown;
}

/** What a program says that was left alone. */
export interface Undisturbed {
  readonly outcome: Outcome;
  /** With a folder. */
  readonly kept: Outcome;
  /** Updates of cold starts from the weights of each checkpoint, by its steps. */
  readonly cold: { readonly [steps: number]: readonly string[] };
}

const setting = JSON.parse(process.argv[2]!) as Setting;
const { folder, notes, place } = setting;
const kind = kindOf(setting.kind);
const reached = join(notes, "reached");
const counts: { [name: string]: number } = {};

/** Stands still as a whole: nothing else of this program runs meanwhile. */
function passed(name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
  if (place?.name !== name || place.number !== counts[name]) return;
  fs.writeFileSync(reached, "");
  const nothing = new Int32Array(new SharedArrayBuffer(4));
  while (fs.existsSync(reached)) Atomics.wait(nothing, 0, 0, 2);
}

/** The places in the writing of a checkpoint. */
function watchFiles(): void {
  const { open, rename } = fs.promises;
  const isDraft = (path: unknown): boolean => String(path).includes(".draft-");
  fs.promises.open = async (path, ...rest) => {
    const file = await open(path, ...rest);
    if (isDraft(path) && String(path).includes("training.safetensors")) passed("written");
    return file;
  };
  fs.promises.rename = async (from, to) => {
    await rename(from, to);
    if (isDraft(from) && !isDraft(to)) passed("renamed");
  };
  syncBuiltinESMExports();
}

/** The places that a callback can see. It also tells where a fit goes on. */
function watching(updates: string): Callback {
  let steps = 0;
  return callback({
    name: "places",
    on: {
      stepBegin: ({ phase }) => (phase.name === "training" ? passed("step") : undefined),
      epochEnd: ({ phase }) => (phase.name === "training" ? passed("epoch") : undefined),
    },
    observe: { stepEnd: ({ phase }) => void (phase.name === "training" && steps++) },
    state: {
      save: () => steps,
      load: async (saved: number) => {
        steps = saved;
        await appendFile(updates, `from ${saved}\n`);
        passed("loading");
      },
    },
  });
}

async function prepared(worker: Worker, updates: string, logs: string): Promise<Learner<AnyRef>> {
  await appendFile(updates, "begin\n");
  const learner = learnerOf(kind, worker, logs, [watching(updates)]);
  const watch = worker.module(setting.hooks).install(learner.model, learner.optimizer, updates, reached) as AnyRef;
  if (place !== undefined) await py.settle(watch(place.name, place.number));
  return learner;
}

/** JSON alone sees nothing in a Map, in which an optimizer has its state. */
const shown = (_: string, part: unknown): unknown => {
  if (part instanceof Map) return [...part];
  return ArrayBuffer.isView(part) ? [...new Uint8Array(part.buffer, part.byteOffset, part.byteLength)] : part;
};
const hashed = (value: unknown): string => createHash("sha256").update(JSON.stringify(value, shown)).digest("hex");

async function outcomeOf(worker: Worker, learner: Learner<AnyRef>, resume: object): Promise<Outcome> {
  const { resumed, ...report } = await learner.fit(EPOCHS, resume);
  passed("ended");
  return {
    weights: await weightsHash(worker, learner.model as never),
    optimizer: hashed(await py.js(learner.optimizer.state_dict() as AnyRef)),
    state: hashed(learner.state),
    report,
    resumed,
  };
}

/** The updates of an epoch from the weights of a checkpoint, and of nothing else in it. */
async function coldFrom(worker: Worker, path: string, updates: string): Promise<string[]> {
  const learner = await prepared(worker, updates, join(notes, "logs"));
  await learner.load(join(path, "model.safetensors"));
  await learner.fit(1);
  return (await readFile(updates, "utf8")).split("\n").slice(1, -1);
}

async function leftAlone(worker: Worker): Promise<Undisturbed> {
  const run = join(folder, "run");
  const updates = join(notes, "updates");
  const outcome = await outcomeOf(worker, await prepared(worker, updates, join(folder, "logs")), {});
  const again = await prepared(worker, join(notes, "kept"), join(notes, "logs"));
  const kept = await outcomeOf(worker, again, { resume: { ...RESUME, folder: run, every: 1, keep: 99 } });
  const cold: { [steps: number]: string[] } = {};
  for (const name of await readdir(run)) {
    const steps = /^step-0*(\d+)-/.exec(name)?.[1];
    if (steps !== undefined) cold[Number(steps)] = await coldFrom(worker, join(run, name), join(notes, `cold-${name}`));
  }
  return { outcome, kept, cold };
}

const RESUME = { every: 2, keep: 2, on: kind.on };
const options = { device: "cpu", seed: 0, deterministic: true, threads: 1 } as const;

if (place !== undefined) watchFiles();
const { address } = setting;
const worker = await (address === undefined
  ? spawnWorker(options)
  : connectWorker(address, { ...options, timeout: 60_000 }));
await writeFile(join(notes, "worker"), String(worker.pid));
const said = setting.alone
  ? await leftAlone(worker)
  : await outcomeOf(worker, await prepared(worker, join(notes, "updates"), join(folder, "logs")), {
      resume: { ...RESUME, folder: join(folder, "run") },
    });
console.log(JSON.stringify(said));
await worker.close();
