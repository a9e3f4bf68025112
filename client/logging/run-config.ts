/** What a run was made of, for config.json. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { packageVersion } from "../../bridge/environment/package.ts";
import { closePipesAtExit } from "../../bridge/process/lines.ts";
import { isReference } from "../data/batch.ts";
import { DataLoader } from "../data/loader.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import type { RunHyperparameters } from "./backend.ts";
import { plain } from "./json.ts";
import { writeWhole } from "./whole-file.ts";

/** The file: written when a run begins, and again with what the worker says of its side. */
export class RunConfig {
  readonly #path: string;
  readonly #hyperparameters: RunHyperparameters;
  #facts: object | undefined;
  #described: object = {};

  constructor(folder: string, hyperparameters: RunHyperparameters) {
    this.#path = join(folder, "config.json");
    this.#hyperparameters = hyperparameters;
  }

  /** Notes what this side knows, the first time. */
  async begin(learner: Trainer): Promise<void> {
    if (this.#facts !== undefined) return;
    this.#facts = factsOf(learner, this.#hyperparameters);
    this.#facts = { ...this.#facts, git: await gitCommit() };
    this.#write();
  }

  /** Adds what the worker knows. */
  add(described: object): void {
    this.#described = described;
    this.#write();
  }

  /** The old one stays until the new one is whole. */
  #write(): void {
    const text = `${JSON.stringify({ ...this.#facts, ...this.#described }, plain, 2)}\n`;
    writeWhole(this.#path, (draft) => writeFileSync(draft, text));
  }
}

/** What this side knows. */
function factsOf(learner: Trainer, hyperparameters: RunHyperparameters): object {
  const { worker, loss, data, callbacks } = learner;
  return {
    started: new Date().toISOString(),
    command: process.argv,
    folder: process.cwd(),
    machine: { host: hostname(), platform: `${process.platform}-${process.arch}`, device: worker.device },
    versions: { torchwire: packageVersion(), node: process.versions.node, ...worker.versions },
    hyperparameters,
    loss: typeof loss === "object" && !isReference(loss) ? { ...loss } : described(loss),
    data: Object.fromEntries(Object.entries(data).map(([name, one]) => [name, sizesOf(one)])),
    callbacks: callbacks.map(({ name }) => name),
    window: learner.window,
  };
}

function sizesOf(data: unknown): object {
  if (data instanceof DataLoader) {
    const { length: batches, samples, batchSize } = data;
    return { batches, samples, batchSize };
  }
  const length = isReference(data) ? undefined : (data as { length?: unknown } | undefined)?.length;
  return typeof length === "number" ? { batches: length } : {};
}

/** The commit that the working directory has, or null where git knows of none. */
async function gitCommit(): Promise<string | null> {
  try {
    const git = promisify(execFile)("git", ["rev-parse", "HEAD"], { timeout: 5000 });
    void closePipesAtExit(git.child);
    return (await git).stdout.trim();
  } catch {
    return null;
  }
}
