/** Recipes of fastai's, made of schedules, groups of parameters, and freezing. */
import { join } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { Scheduler } from "../callbacks/scheduler.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { freeze, unfreeze } from "../model/freeze.ts";
import type { HyperChange, HyperValues } from "../optim/hyper.ts";
import { described } from "../options/keywords.ts";
import type { FitOptions, Learner } from "../learner.ts";
import { fitOptions } from "../loop/options.ts";
import type { Report } from "../training/report.ts";
import { resumeOptions } from "../resume/options.ts";
import { oneCycle } from "../schedules/anneal.ts";
import { checkNumbers, checkOptions } from "../schedules/schedule.ts";

/**
 * The highest learning rates: one for all groups of parameters; one for each; or those of the first and the last group,
 * with even factors between them, as fastai's `slice(1e-5, 1e-3)`.
 */
export type Rates = number | readonly number[];

export interface FitOneCycleOptions extends FitOptions {
  /** The share of the run in which the rate rises. Default 0.25. */
  readonly percentStart?: number;
  /** The first rate is the highest one divided by this. Default 25. */
  readonly div?: number;
  /** The last rate is the highest one divided by this. Default 1e5. */
  readonly divFinal?: number;
  /**
   * The momentum, or the first beta, at the beginning, at the highest rate, and at the end. False leaves it as it is.
   * It also stays where the optimizer has neither, or a momentum of 0. Default [0.95, 0.85, 0.95].
   */
  readonly momentum?: readonly [number, number, number] | false;
}

const ONE_CYCLE_OPTIONS = [...Object.keys(fitOptions), "percentStart", "div", "divFinal", "momentum"];

/**
 * Calls `learner.fit(epochs)` with one cycle of the learning rate, and the opposite one of the momentum: fastai's
 * fit_one_cycle. It adds a Scheduler for this one fit. Afterwards the optimizer has the rates and momenta that it had
 * before.
 */
export async function fitOneCycle(
  learner: Learner,
  epochs: number,
  maxLr: Rates,
  options: FitOneCycleOptions = {},
): Promise<Report> {
  checkOptions("fitOneCycle", options, ONE_CYCLE_OPTIONS);
  const { percentStart = 0.25, div = 25, divFinal = 1e5, momentum = [0.95, 0.85, 0.95], ...fit } = options;
  checkNumbers("fitOneCycle", { percentStart, div, divFinal });
  const before = await groupsOf("fitOneCycle", learner);
  const names = Object.keys(before);
  const rates = ratesOf(maxLr, names);
  const [first, low, last] = momentum === false ? [] : momentum;
  const own = Object.fromEntries(
    names.map((name, i) => {
      const top = rates[i]!;
      const lr = oneCycle("run", top, { startValue: top / div, endValue: top / divFinal, percentStart });
      const key = first === undefined ? undefined : momentumOf(before[name]!);
      if (key === undefined) return [name, { lr }];
      return [name, { lr, [key]: oneCycle("run", low!, { startValue: first!, endValue: last!, percentStart }) }];
    }),
  );
  const scheduler = new Scheduler({ groups: own }, { name: "fitOneCycle" });
  learner.addCallback(scheduler);
  let begun = true;
  try {
    return await learner.fit(epochs, fit);
  } catch (error) {
    begun = (error as { code?: unknown }).code !== "BUSY";
    throw error;
  } finally {
    learner.removeCallback("fitOneCycle");
    if (begun) putBack(learner, before);
  }
}

async function groupsOf(what: string, learner: Learner): Promise<{ readonly [group: string]: HyperValues }> {
  if (!isReference(learner.model))
    throw new TorchwireError(
      "MISUSE",
      `${what} is for a learner of one model; for several, give a Scheduler with models: { … }`,
    );
  return learner.hyper.groups();
}

function ratesOf(maxLr: unknown, names: readonly string[]): number[] {
  const n = names.length;
  const all: unknown[] = Array.isArray(maxLr) ? maxLr : [maxLr, maxLr];
  const isRate = (rate: unknown): boolean => typeof rate === "number" && rate > 0 && rate < Infinity;
  if (!all.every(isRate) || (all.length !== 2 && all.length !== n))
    throw new TorchwireError(
      "MISUSE",
      `fitOneCycle: maxLr is ${described(maxLr)}; it must be a rate above 0, or two, or one for each of the groups ${names.join(", ")}`,
    );
  const [first, last] = [all[0] as number, all.at(-1) as number];
  if (all.length === n) return all as number[];
  return names.map((_, i) => (i === n - 1 ? last : first * (last / first) ** (i / (n - 1))));
}

function momentumOf({ momentum, betas }: HyperValues): "momentum" | "betas.0" | undefined {
  if (Array.isArray(betas)) return "betas.0";
  return typeof momentum === "number" && momentum !== 0 ? "momentum" : undefined;
}

function putBack({ hyper }: Learner, before: { readonly [group: string]: HyperValues }): void {
  const changes = Object.entries(before).flatMap(([group, values]): HyperChange[] => {
    const key = momentumOf(values);
    const old = key === "momentum" ? values["momentum"] : (values["betas"] as readonly number[] | undefined)?.[0];
    const all = [["lr", values["lr"]] as const, ...(key === undefined ? [] : [[key, old] as const])];
    return all.map(([name, value]) => ({ name, group, value: value as number, how: "now" }));
  });
  hyper.write(changes);
}

export interface FineTuneOptions extends Omit<FitOneCycleOptions, "percentStart" | "div"> {
  /** Epochs that train only the head. Default 1. */
  readonly freezeEpochs?: number;
  /** The head's highest rate in those epochs, and twice that of the epochs after them. Default 2e-3. */
  readonly baseLr?: number;
  /** Afterwards the first group's rate is the last one's divided by this, with even factors between. Default 100. */
  readonly lrMult?: number;
  /** The head: `(m) => m.fc`. Default: the last of the optimizer's groups. */
  readonly head?: (model: AnyRef) => AnyRef;
  /** Trains batch normalisation from the beginning, in all layers. Default true. */
  readonly trainNorms?: boolean;
  /** The second part's share in which the rate rises. Default 0.3. */
  readonly percentStart?: number;
  /** The second part's first rate is the highest one divided by this. Default 5. */
  readonly div?: number;
}

/**
 * Runs fastai's fine_tune, for a pretrained model with a new head: it trains the head for `freezeEpochs`, then
 * everything for `epochs`, each part with one cycle of the learning rate. The optimizer's groups are the layers, in
 * their order, and the last one is the head.
 *
 * The report covers both parts. Where the first one is stopped, there is no second. In the end nothing is frozen. With
 * `resume` each part has a folder of its own in that folder, "head" and "all".
 */
export async function fineTune(learner: Learner, epochs: number, options: FineTuneOptions = {}): Promise<Report> {
  checkOptions("fineTune", options, [...ONE_CYCLE_OPTIONS, "freezeEpochs", "baseLr", "lrMult", "head", "trainNorms"]);
  const { freezeEpochs = 1, baseLr = 2e-3, lrMult = 100, head, trainNorms = true } = options;
  const { percentStart = 0.3, div = 5, data, phases, signal, crash, resume, divFinal, momentum } = options;
  checkNumbers("fineTune", { baseLr, lrMult });
  const groups = Object.keys(await groupsOf("fineTune", learner));
  if (head === undefined && groups.length === 1)
    throw new TorchwireError(
      "MISUSE",
      "fineTune: which part is the head? Make it a group of the optimizer's, adamW({ groups: { head: { params: (m) => m.fc } } }), or say fineTune(learner, epochs, { head: (m) => m.fc })",
    );
  const shared = Object.fromEntries(
    Object.entries({ data, phases, signal, crash, divFinal, momentum }).filter(([, value]) => value !== undefined),
  );
  const model = learner.model as AnyRef;
  const helpers = learner.worker.import("torchwire_worker.helpers.fine_tune");
  freeze(model);
  let first: Report;
  try {
    if (head === undefined) helpers.unfreeze_head(model, learner.optimizer, trainNorms);
    else {
      unfreeze(head(model));
      if (trainNorms) helpers.unfreeze_norms(model);
    }
    const rates = groups.map((_, i) => (i === groups.length - 1 ? baseLr : baseLr / 10));
    first = await fitOneCycle(learner, freezeEpochs, rates, { ...shared, ...part(resume, "head"), percentStart: 0.99 });
  } finally {
    unfreeze(model);
  }
  if (first.status !== "completed") return first;
  const top = baseLr / 2;
  const rest = { ...shared, ...part(resume, "all"), percentStart, div };
  const second = await fitOneCycle(learner, epochs, [top / lrMult, top], rest);
  return { ...second, epochs: first.epochs + second.epochs, steps: first.steps + second.steps };
}

/** The resume option of one of several fits. */
function part(resume: FitOptions["resume"], name: string): Pick<FitOptions, "resume"> {
  if (resume === undefined) return {};
  const { folder } = resumeOptions(resume);
  return { resume: { ...(typeof resume === "object" && resume), folder: join(folder, name) } };
}
