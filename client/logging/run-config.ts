/** config.json: the parts and settings of a run. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { packageVersion } from "../../bridge/environment/package.ts";
import { closePipesAtExit } from "../../bridge/process/lines.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import type { KeptState } from "../callback/callback.ts";
import { DataLoader } from "../data/loader.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import type { RunHyperparameters } from "./backend.ts";
import { plain } from "./json.ts";
import { writeWhole } from "./whole-file.ts";

/** The file is written when a run begins, and again with the worker's facts. */
export class RunConfig {
  readonly #path: string;
  readonly #hyperparameters: RunHyperparameters;
  #facts: Facts | undefined;
  #described: object = {};

  constructor(folder: string, hyperparameters: RunHyperparameters) {
    this.#path = join(folder, "config.json");
    this.#hyperparameters = hyperparameters;
  }

  /** Writes this side's facts, at its first call. */
  async begin(learner: Trainer): Promise<void> {
    if (this.#facts !== undefined) return;
    const facts = factsOf(learner, this.#hyperparameters);
    this.#facts = facts;
    this.#facts = { ...facts, git: await gitCommit() };
    this.#write();
  }

  /** A run that is resumed began when its first program did. */
  readonly state: KeptState<string> = {
    save: () => this.#facts!.started,
    load: (started) => {
      this.#facts = { ...this.#facts!, started };
      this.#write();
    },
  };

  /** Adds the worker's facts. */
  add(described: object): void {
    this.#described = described;
    this.#write();
  }

  /** Keeps the old file until the new one is whole. */
  #write(): void {
    const text = `${JSON.stringify({ ...this.#facts, ...this.#described }, plain, 2)}\n`;
    writeWhole(this.#path, (draft) => writeFileSync(draft, text));
  }
}

interface Facts {
  readonly started: string;
  readonly [fact: string]: unknown;
}

/** The facts that this side knows. */
function factsOf(learner: Trainer, hyperparameters: RunHyperparameters): Facts {
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

/** The commit of the working directory, or null where git knows none. */
async function gitCommit(): Promise<string | null> {
  try {
    const git = promisify(execFile)("git", ["rev-parse", "HEAD"], { timeout: 5000 });
    void closePipesAtExit(git.child);
    return (await git).stdout.trim();
  } catch {
    return null;
  }
}
