/** A folder for each run: its parts, its course and its end. */
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { State, View } from "../callback/access.ts";
import { CallbackObject, type Callback, type Measured, type Observers } from "../callback/callback.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import type { RunHyperparameters } from "./backend.ts";
import { whole } from "./every.ts";
import { madeFolder } from "./folder.ts";
import { RunConfig } from "./run-config.ts";
import { RunLog } from "./run-log.ts";

export interface RunFolderOptions {
  /** Ends the folder's name, so that you find the run again. */
  readonly name?: string;
  /** The run's settings, for config.json. */
  readonly hyperparameters?: RunHyperparameters;
  /** Every `freq`-th step of a phase gets a line, beginning with the first. Default: 100. */
  readonly freq?: number;
  /**
   * True, the default: each program makes a new folder in `folder`. False: `folder` itself is the run's, for a fit that
   * is resumed.
   */
  readonly numbered?: boolean;
}

/**
 * Makes a new folder in `folder`, named by the day and a number: `runs/2026-11-23-001`, and `name` at its end. You can
 * read its files at any moment:
 *
 * - config.json: versions, the command and git commit, the model, the optimizer and its options, the loss, the data,
 *   and the callbacks.
 * - metrics.jsonl: a line when a fit begins, for each epoch of each phase, for each `freq`-th step, and when the fit
 *   ends, with its status, the reason, and the callback that ended it.
 * - checkpoints.jsonl, where there is a Checkpointer: a line for each checkpoint.
 *
 * Further fits of the learner append to the same files. A backend may write there too: `tensorBoard(run.path)`.
 */
export class RunFolder extends CallbackObject {
  override readonly name = "RunFolder";
  override readonly access = {
    model: "use",
    optimizer: "use",
    state: { history: "read", metricsStep: "read", metricsEpoch: "read" },
  } as const;
  override readonly runAfter: Callback["runAfter"] = ["Checkpointer"];
  override readonly state: Callback["state"];
  readonly path: string;
  readonly #log: RunLog;
  readonly #config: RunConfig;
  #learner: Trainer | undefined;
  /**
   * Describes the model and the optimizer, which are in the worker. It is called with the first step, and then given
   * up.
   */
  #describe: AnyRef | undefined;

  /** Throws NOT_SAVED where the folder cannot be made. */
  constructor(folder: string, options: RunFolderOptions = {}) {
    super();
    const { name, hyperparameters = {}, freq = 100, numbered = true } = options;
    whole("RunFolder", "freq", freq);
    if (typeof numbered !== "boolean" || (!numbered && name !== undefined))
      throw new TorchwireError(
        "MISUSE",
        `RunFolder: numbered is ${described(numbered)}, and name is ${described(name)}; numbered must be true or false, and a name goes with a number`,
      );
    const made = madeFolder("new RunFolder", folder);
    this.path = numbered ? newFolder(made, name) : made;
    this.#log = new RunLog(this.path, freq);
    this.#config = new RunConfig(this.path, hyperparameters);
    this.state = numbered
      ? {
          refuses:
            "makes a new folder in each program: give the run its own, new RunFolder(folder, { numbered: false })",
        }
      : {
          save: () => [this.#log.state.save(), this.#config.state.save()],
          load: async ([log, config]) => {
            await this.#log.state.load(log);
            await this.#config.state.load(config);
          },
        };
  }

  override readonly init = (learner: Trainer): void => {
    if (this.#learner !== undefined && this.#learner !== learner)
      throw new TorchwireError("MISUSE", "a RunFolder belongs to one learner: make another one");
    this.#learner = learner;
    this.#log.skip(learner.state);
    this.#describe = py.keep(learner.worker.import("torchwire_worker.helpers.runs").describe as AnyRef);
  };

  override readonly measure = ({ model, optimizer }: View<RunFolder["access"], "stepEnd">): Measured => {
    const describe = this.#describe;
    this.#describe = undefined;
    return describe === undefined ? {} : { described: describe(model, optimizer) };
  };

  override readonly observe: Observers<RunFolder["access"]> = {
    fitBegin: async ({ epochs }) => {
      await this.#config.begin(this.#learner!);
      this.#log.fitBegin(epochs);
    },
    epochBegin: async ({ phase, epoch, state }) => {
      await this.#config.begin(this.#learner!);
      this.#log.epochBegin(phase.name, epoch, state);
    },
    stepEnd: ({ phase, epoch, state, values: { described } }) => {
      if (described !== undefined) this.#config.add(described as object);
      this.#log.stepEnd(phase.name, epoch, state);
      this.#logCheckpoints();
    },
    epochCancelled: ({ phase }) => this.#log.epochCancelled(phase.name),
    epochEnd: ({ phase, state }) => {
      this.#log.epochEnd(phase.name, state);
      this.#logCheckpoints();
    },
    fitEnd: ({ state, ending }) => {
      this.#logCheckpoints();
      this.#log.fitEnd(ending!, state);
    },
  };

  /** Reads the learner's own state, and not what `access` gives: there may be no Checkpointer. */
  #logCheckpoints(): void {
    this.#log.checkpoints((this.#learner!.state as Partial<State>).checkpoints);
  }
}

/** `mkdirSync` fails where the folder exists, so two processes never share one. */
function newFolder(parent: string, name: string | undefined): string {
  if (name !== undefined && (typeof name !== "string" || !/^[\w.-]+$/.test(name)))
    throw new TorchwireError(
      "MISUSE",
      `RunFolder: name is ${described(name)}; it must consist of letters, digits, and any of "_.-"`,
    );
  const now = new Date();
  const day = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())].join("-");
  const numbers = readdirSync(parent).map(
    (other) => Number(/^(\d+-\d\d-\d\d)-(\d+)/.exec(other)?.[2] ?? 0) * Number(other.startsWith(day)),
  );
  for (let number = Math.max(0, ...numbers) + 1; ; number++) {
    const path = join(parent, `${day}-${String(number).padStart(3, "0")}${name === undefined ? "" : `-${name}`}`);
    try {
      mkdirSync(path);
      return path;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "EEXIST") continue;
      throw new TorchwireError("NOT_SAVED", `${path} cannot be made: ${(cause as Error).message}`, { cause });
    }
  }
}

const two = (n: number): string => String(n).padStart(2, "0");
