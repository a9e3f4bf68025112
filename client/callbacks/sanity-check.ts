import { TorchwireError } from "../../bridge/errors/errors.ts";
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { py } from "../../bridge/reference/py.ts";
import { printable } from "../../bridge/errors/shown.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { CallbackObject, type Callback, type Handlers, type KeptState } from "../callback/callback.ts";
import { watches, type PythonForm } from "../callback/python-form.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { mapInputs, toBatch } from "../data/batch.ts";
import { mapPicked, type Picked } from "../data/picked.ts";
import type { Inputs } from "../data/types.ts";
import { rootOf } from "../loop/failures.ts";
import { described, flag, keywordsOf, type Kind, type Kinds } from "../options/keywords.ts";
import type { Trainer, LearnerData } from "../training/trainer.ts";
import { isOwn } from "../training/forward.ts";
import { AbstractTrainingPhase, TrainingPhase, type Phase } from "../training/phases.ts";

/** The view of a check. */
export interface SanityView {
  readonly model: AnyRef;
  readonly lossFn: Trainer["lossFn"];
  /** The first batch, as the model takes it. */
  readonly xs: any;
  readonly ys: any;
  /** The learner's own data. */
  readonly data: LearnerData;
  readonly phase: Phase;
}

export interface Check {
  /** A sentence that must be true: "every class is there". */
  readonly name: string;
  /** "error", the default, ends the fit; "warning" does not. */
  readonly level?: "error" | "warning";
  /** Returns true or nothing where it is true, or else false or the reason. What it throws is a reason, too. */
  readonly run: (view: SanityView) => boolean | string | void | PromiseLike<boolean | string | void>;
}

export interface SanityCheckOptions {
  /** Checks of your own. */
  readonly checks?: readonly Check[];
  /** Whether the included checks run as well. Default: only where `checks` is empty. */
  readonly defaults?: boolean;
}

const checksKind: Kind = {
  is: "an array of { name, run }",
  send: (value) =>
    Array.isArray(value) &&
    value.every((one: Partial<Check>) => typeof one?.name === "string" && typeof one.run === "function")
      ? value
      : undefined,
};
const KINDS: Kinds<SanityCheckOptions> = { checks: checksKind, defaults: flag };

export interface FailedCheck {
  readonly name: string;
  readonly why: string;
}

/** The fit ended before its first step, because checks of the level "error" failed. */
export class SanityCheckError extends TorchwireError {
  override name = "SanityCheckError";
  readonly failed: readonly FailedCheck[];

  constructor(failed: readonly FailedCheck[]) {
    const list = failed.map(({ name, why }) => `\n  ${name}: ${why}`).join("");
    super("MISUSE", `${failed.length} sanity check${failed.length === 1 ? "" : "s"} failed${list}`);
    this.failed = failed;
  }
}

/** Checks that need no batch. None asks for training data, because `fit` does that itself. */
const BEFORE: readonly (Omit<Check, "run"> & { readonly run: (data: LearnerData) => boolean | string })[] = [
  {
    name: "there is validation data",
    level: "warning",
    run: ({ validation }) =>
      validation !== undefined || "data.validation is not set: nothing tells whether the model has learnt by heart",
  },
  {
    name: "batches are { xs, ys } or [xs, ys]",
    // Looks at arrays only: the batches of a loader or a stream are not there yet.
    run: ({ training, validation }) =>
      [training, validation].map(batchProblem).find((why) => why !== undefined) ?? true,
  },
];

/**
 * Checks, before the first training step that it sees, whether a training can go well: whether there is validation
 * data, whether batches are such, and whether the loss of the first batch is one number, made of each sample's outputs
 * and its own targets. If something is wrong, the fit rejects before it makes a step; the `cause` is a
 * SanityCheckError that lists all errors. A check of the level "warning" gives a process warning.
 *
 * The model runs in eval mode, without gradients, and with a fork of the random numbers, on the batch that the first
 * step is about to use. So not a bit of the training changes, and no data is used up.
 */
export class SanityCheck extends CallbackObject {
  override readonly name = "SanityCheck";
  override readonly phase: Callback["phase"] = AbstractTrainingPhase;
  override readonly access = { model: "use", lossFn: "use", data: "use", step: { xs: "use", ys: "use" } } as const;
  override readonly state: KeptState<"new" | "begun" | "over"> = {
    save: () => this.#state,
    load: (saved) => void (this.#state = saved),
  };
  readonly #checks: readonly Check[];
  readonly #defaults: boolean;
  #state: "new" | "begun" | "over" = "new";
  /** For the worker, its modules, and the data itself: checks must not get read-only views of arrays. */
  #learner!: Trainer;

  constructor(options: SanityCheckOptions = {}) {
    super();
    keywordsOf("SanityCheck", KINDS, options);
    const { checks = [], defaults = checks.length === 0 } = options;
    this.#checks = checks;
    this.#defaults = defaults;
  }

  override readonly init = (learner: Trainer): void => {
    this.#learner = learner;
  };

  readonly pythonForm: () => PythonForm = watches;
  override readonly on: Handlers<SanityCheck["access"]> = {
    epochBegin: async () => {
      if (this.#state !== "new") return;
      const { data } = this.#learner;
      if (this.#defaults) await judge(BEFORE.map((check) => ({ ...check, run: () => check.run(data) })));
      this.#state = "begun";
    },
    stepBegin: ({ model, lossFn, step, phase }) => {
      if (this.#state !== "begun") return undefined;
      const { data, loss } = this.#learner;
      const view: SanityView = { model, lossFn, data, phase, xs: step.xs, ys: step.ys };
      const made = (check: Check): Check => ({ ...check, run: () => apart(this.#learner, () => check.run(view)) });
      const all = [
        ...(this.#defaults && phase instanceof TrainingPhase
          ? [
              made(lossIsANumber(this.#learner)),
              // A model that computes its own loss compares nothing that could be watched.
              ...(isOwn(loss) ? [] : [unlessItFails(made(samplesMeetTheirOwn(this.#learner)))]),
            ]
          : []),
        ...this.#checks.map(made),
      ];
      return judge(all.map((check) => ({ ...check, run: () => check.run(view) }))).then(() => {
        this.#state = "over";
      });
    },
  };
}

const lossIsANumber = (learner: Trainer): Check => ({
  name: "the loss of a batch is a number",
  async run({ lossFn, xs, ys }) {
    const loss: unknown = lossFn(learner.forward(xs as Inputs, ys) as AnyRef, ys);
    if (!isReference(loss)) return `the loss function gave ${described(loss)}, which is not a reference to a tensor`;
    const helper = learner.worker.import("torchwire_worker.helpers.checks").loss_problem as AnyRef;
    return ((await py.js(helper(loss, isOwn(learner.loss)))) as string | null) ?? true;
  },
});

/**
 * A check that passes where it cannot run: the check before tells why a loss fails, and some losses do not take watched
 * tensors.
 */
const unlessItFails = (check: Check): Check => ({
  ...check,
  run: async (view) => {
    try {
      return await check.run(view);
    } catch {
      return true;
    }
  },
});

const samplesMeetTheirOwn = (learner: Trainer): Check => ({
  name: "each sample's outputs meet its own targets",
  async run({ lossFn, xs, ys }) {
    const watch = learner.worker.import("torchwire_worker.helpers.checks").Watch() as AnyRef;
    const watched = mapInputs(ys as Inputs, "targets", (value, path) => watch.watched(value, path));
    const yhat = mapPicked(learner.forward(xs as Inputs, ys) as Picked, (part) => watch.watched(part, "outputs"));
    const loss: unknown = lossFn(yhat as AnyRef, watched);
    if (isReference(loss)) await py.settle(loss);
    return ((await py.js(watch.problem as AnyRef)) as string | null) ?? true;
  },
});

/**
 * Runs in a lane of its own, so that a failure does not end the fit's lane, and in a context in which nothing can
 * change.
 */
const apart = <T>({ worker, modules }: Trainer, run: () => T | PromiseLike<T>): Promise<T> =>
  worker.lane(() =>
    worker.context({ mode: "no_grad", eval: modules, rng: "fork" }, () => worker.scope(async () => await run())),
  );

/** Throws a SanityCheckError with all errors. Emits warnings. */
async function judge(
  checks: readonly (Pick<Check, "name" | "level"> & { readonly run: () => ReturnType<Check["run"]> })[],
): Promise<void> {
  const failed: FailedCheck[] = [];
  for (const { name, level = "error", run } of checks) {
    const why = await whyNot(run);
    if (why === undefined) continue;
    if (level === "error") failed.push({ name, why });
    else process.emitWarning(printable(`sanity check: ${name}: ${why}`), { type: "TorchwireWarning" });
  }
  if (failed.length > 0) throw new SanityCheckError(failed);
}

async function whyNot(run: () => ReturnType<Check["run"]>): Promise<string | undefined> {
  try {
    const found = await run();
    return found === false ? "it is not so" : typeof found === "string" ? found : undefined;
  } catch (error) {
    const root = rootOf(error);
    return messageOf(root);
  }
}

function batchProblem(data: unknown): string | undefined {
  if (!Array.isArray(data)) return undefined;
  for (const [i, one] of data.entries())
    try {
      toBatch(one);
    } catch (error) {
      return `at index ${i}, ${(error as Error).message}`;
    }
  return undefined;
}
