/**
 * The schedules of torch.optim.lr_scheduler, by their closed forms. `start` is the value that PyTorch's parameter group
 * starts with. Within `relative(…)`, with a start of 1, it is each group's own. PyTorch's counter is `t - 1`.
 */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";
import { checkNumbers, checkOptions, durationOf, type Duration, type Schedule } from "./schedule.ts";

/** StepLR: multiplies by `gamma` (0.1) after each `stepSize` steps. */
export function stepLR(start: number, options: { readonly stepSize: Duration; readonly gamma?: number }): Schedule {
  checkOptions("stepLR", options, ["stepSize", "gamma"]);
  const { stepSize, gamma = 0.1 } = options;
  checkNumbers("stepLR", { start, gamma });
  const size = durationOf("stepLR: stepSize", stepSize);
  return (t, run) => start * gamma ** Math.floor((t - 1) / size(run));
}

/** MultiStepLR: multiplies by `gamma` (0.1) at each milestone. */
export function multiStepLR(
  start: number,
  options: { readonly milestones: readonly Duration[]; readonly gamma?: number },
): Schedule {
  checkOptions("multiStepLR", options, ["milestones", "gamma"]);
  const { milestones, gamma = 0.1 } = options;
  checkNumbers("multiStepLR", { start, gamma });
  if (!Array.isArray(milestones))
    throw new TorchwireError(
      "MISUSE",
      `multiStepLR: milestones is ${described(milestones)}; it must be an array of durations`,
    );
  const all = (milestones as readonly Duration[]).map((one, i) => durationOf(`multiStepLR: milestones[${i}]`, one));
  return (t, run) => start * gamma ** all.filter((milestone) => t - 1 >= milestone(run)).length;
}

/** ConstantLR: multiplies by `factor` (1/3) for `totalIters` steps (5). After that it is `start`. */
export function constantLR(
  start: number,
  options: { readonly factor?: number; readonly totalIters?: Duration } = {},
): Schedule {
  checkOptions("constantLR", options, ["factor", "totalIters"]);
  const { factor = 1 / 3, totalIters = 5 } = options;
  checkNumbers("constantLR", { start, factor });
  const total = durationOf("constantLR: totalIters", totalIters);
  return (t, run) => (t - 1 >= total(run) ? start : start * factor);
}

/**
 * LinearLR, a linear warm-up: goes from `startFactor` (1/3) to `endFactor` (1) times `start` in `totalIters` steps (5),
 * and stays there.
 */
export function linearLR(
  start: number,
  options: { readonly startFactor?: number; readonly endFactor?: number; readonly totalIters?: Duration } = {},
): Schedule {
  checkOptions("linearLR", options, ["startFactor", "endFactor", "totalIters"]);
  const { startFactor = 1 / 3, endFactor = 1, totalIters = 5 } = options;
  checkNumbers("linearLR", { start, startFactor, endFactor });
  const total = durationOf("linearLR: totalIters", totalIters);
  return (t, run) => {
    const steps = total(run);
    return start * (startFactor + ((endFactor - startFactor) * Math.min(steps, t - 1)) / steps);
  };
}

/** ExponentialLR: multiplies by `gamma` at each step. */
export function exponentialLR(start: number, options: { readonly gamma: number }): Schedule {
  checkOptions("exponentialLR", options, ["gamma"]);
  const { gamma } = options;
  checkNumbers("exponentialLR", { start, gamma });
  return (t) => start * gamma ** (t - 1);
}

/** PolynomialLR: falls to 0 in `totalIters` steps (5) as `(1 - x)^power` (1), and stays there. */
export function polynomialLR(
  start: number,
  options: { readonly totalIters?: Duration; readonly power?: number } = {},
): Schedule {
  checkOptions("polynomialLR", options, ["totalIters", "power"]);
  const { totalIters = 5, power = 1 } = options;
  checkNumbers("polynomialLR", { start, power });
  const total = durationOf("polynomialLR: totalIters", totalIters);
  return (t, run) => {
    const steps = total(run);
    return start * (1 - Math.min(steps, t - 1) / steps) ** power;
  };
}

const cosine = (start: number, etaMin: number, over: number, length: number): number =>
  etaMin + ((start - etaMin) * (1 + Math.cos((Math.PI * over) / length))) / 2;

/** CosineAnnealingLR: falls along half a cosine to `etaMin` (0) in `tMax` steps, and rises again the same way. */
export function cosineAnnealingLR(
  start: number,
  options: { readonly tMax: Duration; readonly etaMin?: number },
): Schedule {
  checkOptions("cosineAnnealingLR", options, ["tMax", "etaMin"]);
  const { tMax, etaMin = 0 } = options;
  checkNumbers("cosineAnnealingLR", { start, etaMin });
  const length = durationOf("cosineAnnealingLR: tMax", tMax);
  return (t, run) => cosine(start, etaMin, t - 1, length(run));
}

/**
 * CosineAnnealingWarmRestarts: falls along half a cosine to `etaMin` (0) in `t0` steps, then restarts at `start`. Each
 * further period is `tMult` (1) times as long as the one before.
 */
export function cosineAnnealingWarmRestarts(
  start: number,
  options: { readonly t0: Duration; readonly tMult?: number; readonly etaMin?: number },
): Schedule {
  checkOptions("cosineAnnealingWarmRestarts", options, ["t0", "tMult", "etaMin"]);
  const { t0, tMult = 1, etaMin = 0 } = options;
  checkNumbers("cosineAnnealingWarmRestarts", { start, tMult, etaMin });
  if (!Number.isInteger(tMult) || tMult < 1)
    throw new TorchwireError(
      "MISUSE",
      `cosineAnnealingWarmRestarts: tMult is ${tMult}; it must be a whole number from 1`,
    );
  const first = durationOf("cosineAnnealingWarmRestarts: t0", t0);
  return (t, run) => {
    let length = first(run);
    let over = tMult === 1 ? (t - 1) % length : t - 1;
    for (; over >= length; length *= tMult) over -= length;
    return cosine(start, etaMin, over, length);
  };
}

export interface CyclicLROptions {
  /** Steps on the way up. Default: 2000. */
  readonly stepSizeUp?: Duration;
  /** Steps on the way down. Default: `stepSizeUp`. */
  readonly stepSizeDown?: Duration;
  /**
   * How the height of a cycle changes: never; by half in each cycle; by `gamma` at each step. Default: "triangular".
   */
  readonly mode?: "triangular" | "triangular2" | "exp_range";
  /** The factor of "exp_range". Default: 1. */
  readonly gamma?: number;
}

const HEIGHTS = {
  triangular: () => 1,
  triangular2: (cycle: number) => 1 / 2 ** (cycle - 1),
  exp_range: (_cycle: number, over: number, gamma: number) => gamma ** over,
};

/**
 * CyclicLR: goes in straight lines from `base` to `top` and back, again and again. (A momentum that does the opposite
 * is another schedule.)
 */
export function cyclicLR(base: number, top: number, options: CyclicLROptions = {}): Schedule {
  checkOptions("cyclicLR", options, ["stepSizeUp", "stepSizeDown", "mode", "gamma"]);
  const { stepSizeUp = 2000, stepSizeDown = stepSizeUp, mode = "triangular", gamma = 1 } = options;
  checkNumbers("cyclicLR", { base, top, gamma });
  if (!Object.hasOwn(HEIGHTS, mode))
    throw new TorchwireError(
      "MISUSE",
      `cyclicLR: mode is ${described(mode)}; it must be one of ${Object.keys(HEIGHTS).join(", ")}`,
    );
  const up = durationOf("cyclicLR: stepSizeUp", stepSizeUp);
  const down = durationOf("cyclicLR: stepSizeDown", stepSizeDown);
  return (t, run) => {
    const total = up(run) + down(run);
    const ratio = up(run) / total;
    const cycle = Math.floor(1 + (t - 1) / total);
    const x = 1 + (t - 1) / total - cycle;
    const scale = x <= ratio ? x / ratio : (x - 1) / (ratio - 1);
    return base + (top - base) * scale * HEIGHTS[mode](cycle, t - 1, gamma);
  };
}

export interface OneCycleLROptions {
  readonly totalSteps: Duration;
  /** The share of the steps in which the value rises. Default: 0.3. */
  readonly pctStart?: number;
  /** Default: "cos". */
  readonly annealStrategy?: "cos" | "linear";
  /** The first value is `top` divided by this. Default: 25. */
  readonly divFactor?: number;
  /** The last value is the first one divided by this. Default: 1e4. */
  readonly finalDivFactor?: number;
  /** Falls to the first value in as many steps as it rose, and then to the last. Default: false. */
  readonly threePhase?: boolean;
}

/**
 * OneCycleLR: rises to `top` and falls again. Unlike `oneCycle`, it reaches the last value at its last step, and stays
 * there. (PyTorch's also cycles the momentum by default; here `oneCycleMomentum` is a schedule of its own.)
 */
export function oneCycleLR(top: number, options: OneCycleLROptions): Schedule {
  const { divFactor = 25, finalDivFactor = 1e4, ...when } = options;
  checkNumbers("oneCycleLR", { top, divFactor, finalDivFactor });
  const low = top / divFactor;
  return phases(when, (threePhase) =>
    threePhase ? [low, top, low, low / finalDivFactor] : [low, top, low / finalDivFactor],
  );
}

/**
 * OneCycleLR's momentum: falls from `top` (0.95) to `base` (0.85) while the rate rises, and rises again while it falls.
 */
export function oneCycleMomentum(
  options: Omit<OneCycleLROptions, "divFactor" | "finalDivFactor"> & { readonly base?: number; readonly top?: number },
): Schedule {
  const { base = 0.85, top = 0.95, ...when } = options;
  checkNumbers("oneCycleMomentum", { base, top });
  return phases(when, (threePhase) => (threePhase ? [top, base, top, top] : [top, base, top]));
}

/** Goes from value to value, one phase each. The phases end where OneCycleLR's do. */
function phases(
  options: Omit<OneCycleLROptions, "divFactor" | "finalDivFactor">,
  valuesOf: (threePhase: boolean) => readonly number[],
): Schedule {
  checkOptions("oneCycleLR", options, ["totalSteps", "pctStart", "annealStrategy", "threePhase"]);
  const { totalSteps, pctStart = 0.3, annealStrategy = "cos", threePhase = false } = options;
  checkNumbers("oneCycleLR", { pctStart });
  if (pctStart < 0 || pctStart > 1)
    throw new TorchwireError("MISUSE", `oneCycleLR: pctStart is ${pctStart}; it must be from 0 to 1`);
  if (annealStrategy !== "cos" && annealStrategy !== "linear")
    throw new TorchwireError(
      "MISUSE",
      `oneCycleLR: annealStrategy is ${described(annealStrategy)}; it must be "cos" or "linear"`,
    );
  const total = durationOf("oneCycleLR: totalSteps", totalSteps);
  const values = valuesOf(threePhase);
  return (t, run) => {
    const steps = total(run);
    const ends = [pctStart * steps - 1, ...(threePhase ? [2 * pctStart * steps - 2] : []), steps - 1];
    const over = Math.min(t - 1, steps - 1);
    const phase = ends.findIndex((end, i) => over <= end || i === ends.length - 1);
    const start = phase === 0 ? 0 : ends[phase - 1]!;
    const [from, to] = [values[phase]!, values[phase + 1]!];
    // A phase of no length, in a run of one step, has ended.
    const length = ends[phase]! - start;
    const place = length === 0 ? 1 : (over - start) / length;
    return annealStrategy === "cos"
      ? to + ((from - to) / 2) * (Math.cos(Math.PI * place) + 1)
      : (to - from) * place + from;
  };
}
