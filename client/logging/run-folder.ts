/** A folder for each run: its parts, its course and its end. */
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { State } from "../callback/access.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
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
  readonly path: string;

  /** Throws NOT_SAVED where the folder cannot be made. */
  constructor(folder: string, { name, hyperparameters = {}, freq = 100 }: RunFolderOptions = {}) {
    whole("RunFolder", "freq", freq);
    const path = newFolder(madeFolder("new RunFolder", folder), name);
    const log = new RunLog(path, freq);
    const config = new RunConfig(path, hyperparameters);
    let learner: Trainer | undefined;
    // Describes the model and the optimizer, which are in the worker. The first step calls it.
    let describe: AnyRef | undefined;
    const checkpoints = (): void => log.checkpoints((learner!.state as Partial<State>).checkpoints);
    super(
      callback({
        name: "RunFolder",
        access: {
          model: "use",
          optimizer: "use",
          state: { history: "read", metricsStep: "read", metricsEpoch: "read" },
        },
        runAfter: ["Checkpointer"],
        init: (given) => {
          if (learner !== undefined && learner !== given)
            throw new TorchwireError("MISUSE", "a RunFolder belongs to one learner: make another one");
          learner = given;
          log.skip(given.state);
          describe = py.keep(given.worker.import("torchwire_worker.helpers.runs").describe as AnyRef);
        },
        measure: ({ model, optimizer }): { described?: AnyRef } => {
          if (describe === undefined) return {};
          const described = describe(model, optimizer);
          describe = undefined;
          return { described };
        },
        observe: {
          fitBegin: async ({ epochs }) => {
            await config.begin(learner!);
            log.fitBegin(epochs);
          },
          epochBegin: async ({ phase, epoch, state }) => {
            await config.begin(learner!);
            log.epochBegin(phase.name, epoch, state);
          },
          stepEnd: ({ phase, epoch, state, values: { described } }) => {
            if (described !== undefined) config.add(described as object);
            log.stepEnd(phase.name, epoch, state);
            checkpoints();
          },
          epochCancelled: ({ phase }) => log.epochCancelled(phase.name),
          epochEnd: ({ phase, state }) => {
            log.epochEnd(phase.name, state);
            checkpoints();
          },
          fitEnd: ({ state, ending }) => {
            checkpoints();
            log.fitEnd(ending!, state);
          },
        },
      }),
    );
    this.path = path;
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
