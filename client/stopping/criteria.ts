/** The criteria of EarlyStopping.jl, most of them from Prechelt, "Early Stopping - But When?" (1998). */
import { keywordsOf, type Kind, type Kinds } from "../options/keywords.ts";
import { finite, positive, wholeFrom } from "../options/kinds.ts";
import { criterion, misuse, type StoppingCriterion } from "./criterion.ts";

/** Never stops: EarlyStopping.jl's `Never`. */
export const never = (): StoppingCriterion<never> =>
  criterion<never>({ name: "Never()", update: () => undefined, done: () => false });

/** Stops once a loss is NaN or infinite, training losses included: `InvalidValue`. */
export function invalidValue(): StoppingCriterion<boolean> {
  const update = (loss: number, found = false): boolean => found || !Number.isFinite(loss);
  return criterion<boolean>({
    name: "InvalidValue()",
    update,
    updateTraining: update,
    done: (found) => found,
    message: () => "Stopping early as `NaN`, `Inf` or `-Inf` encountered. ",
  });
}

/** Exactly one of these, above 0. */
export type TimeLimitOptions =
  | { readonly hours: number; readonly minutes?: never; readonly seconds?: never }
  | { readonly minutes: number; readonly hours?: never; readonly seconds?: never }
  | { readonly seconds: number; readonly hours?: never; readonly minutes?: never };

/** Stops when more than this time has passed since the first loss: `TimeLimit`. Default: half an hour. */
export function timeLimit(
  options: TimeLimitOptions = { hours: 0.5 },
): StoppingCriterion<{ start: number; now: number }> {
  keywordsOf<TimeLimitOptions>("timeLimit", TIME_KINDS, options);
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  if (given.length !== 1) throw misuse("timeLimit takes exactly one of hours, minutes and seconds");
  const [[unit, amount]] = given as [[keyof typeof MILLISECONDS, number]];
  const limit = amount * MILLISECONDS[unit];
  const update = (_: number, before: { start: number } | undefined, now: number): { start: number; now: number } => ({
    start: before?.start ?? now,
    now,
  });
  return criterion({
    name: `TimeLimit(${amount} ${unit})`,
    update,
    updateTraining: update,
    done: ({ start, now }) => now - start > limit,
  });
}

const MILLISECONDS = { hours: 3_600_000, minutes: 60_000, seconds: 1000 } as const;

interface Loss {
  readonly loss: number;
  readonly least: number;
}

const followed = (loss: number, before: { readonly least: number | undefined } | undefined): Loss => ({
  loss,
  least: before?.least === undefined ? loss : Math.min(loss, before.least),
});

/**
 * Percent of the best loss: 100 (E - Emin) / |Emin|. (EarlyStopping.jl computes E / |Emin| - 1, which differs for
 * losses below 0.)
 */
const generalizationLoss = ({ loss, least }: Loss): number => (100 * (loss - least)) / Math.abs(least);

/**
 * Stops when the loss is more than `alpha` percent above the best one: `GL`, Prechelt's GL. `alpha` is above 0;
 * default: 2.
 */
export function gl(alpha = 2): StoppingCriterion<Loss> {
  checkValue("gl", "alpha", positive, alpha);
  return criterion<Loss>({
    name: `GL(${float(alpha)})`,
    update: followed,
    done: (state) => generalizationLoss(state) > alpha,
  });
}

export interface PqOptions {
  /** Default: 0.75. */
  readonly alpha?: number;
  /** The number of training losses that show the progress: a whole number from 2. Default: 5. */
  readonly k?: number;
  /** Below this the training makes no progress. Default: 2^-52. */
  readonly tol?: number;
}

interface PqState {
  /** The last `k` training losses. */
  readonly training: readonly number[];
  /** True where a training loss came last. */
  readonly waits: boolean;
  readonly loss: number | undefined;
  readonly least: number | undefined;
}

/**
 * Stops when the loss has risen more than the training has progressed: `PQ`, Prechelt's PQ. GL is as in `gl`. The
 * progress is P = 1000 (M - m) / |m|, where M is the mean and m the least of the last `k` training losses. PQ stops
 * when GL / P > alpha, or when P is not above `tol`.
 *
 * It needs `k` training losses first, and stops only after a loss that is not a training loss.
 */
export function pq(options: PqOptions = {}): StoppingCriterion<PqState> {
  keywordsOf("pq", PQ_KINDS, options);
  const { alpha = 0.75, k = 5, tol = Number.EPSILON } = options;
  return criterion<PqState>({
    name: `PQ(${float(alpha)}, ${k}, ${float(tol)})`,
    update: (loss, before) => ({ training: before?.training ?? [], waits: false, ...followed(loss, before) }),
    updateTraining: (loss, before) => ({
      training: [...(before?.training ?? []), loss].slice(-k),
      waits: true,
      loss: before?.loss,
      least: before?.least,
    }),
    done: ({ training, waits, loss, least }) => {
      if (loss === undefined || least === undefined || waits || training.length < k) return false;
      const mean = training.reduce((sum, one) => sum + one, 0) / k;
      const min = Math.min(...training);
      const progress = (1000 * (mean - min)) / Math.abs(min);
      // `!(… > tol)` also holds where progress is NaN.
      return !(progress > tol) || generalizationLoss({ loss, least }) / progress > alpha;
    },
  });
}

/**
 * Stops when the loss has risen `n` times in a row: `Patience`, Prechelt's UP. A loss that stays the same, or falls a
 * little, starts the count again. Other libraries mean `numberSinceBest` by patience. `n` is a whole number from 1;
 * default: 5.
 */
export function patience(n = 5): StoppingCriterion<{ loss: number; rises: number }> {
  checkValue("patience", "n", wholeFrom(1), n);
  return criterion<{ loss: number; rises: number }>({
    name: `Patience(${n})`,
    update: (loss, before) => ({ loss, rises: before !== undefined && loss > before.loss ? before.rises + 1 : 0 }),
    done: ({ rises }) => rises >= n,
  });
}

/**
 * Stops when `n` losses in a row were not below the best one: `NumberSinceBest`. `n` is a whole number from 1; default:
 * 6.
 */
export function numberSinceBest(n = 6): StoppingCriterion<{ best: number; since: number }> {
  checkValue("numberSinceBest", "n", wholeFrom(1), n);
  return criterion<{ best: number; since: number }>({
    name: `NumberSinceBest(${n})`,
    update: (loss, before) =>
      before === undefined || loss < before.best ? { best: loss, since: 0 } : { ...before, since: before.since + 1 },
    done: ({ since }) => since >= n,
  });
}

/** Stops after `n` losses, training losses not counted: `NumberLimit`. `n` is a whole number from 1; default: 100. */
export function numberLimit(n = 100): StoppingCriterion<number> {
  checkValue("numberLimit", "n", wholeFrom(1), n);
  return criterion<number>({
    name: `NumberLimit(${n})`,
    update: (_, seen = 0) => seen + 1,
    done: (seen) => seen >= n,
  });
}

/** Stops when the loss is below `value`: `Threshold`. Default: 0. */
export function threshold(value = 0): StoppingCriterion<number> {
  checkValue("threshold", "value", finite, value);
  return criterion<number>({
    name: `Threshold(${float(value)})`,
    update: (loss) => loss,
    done: (loss) => loss < value,
  });
}

// --- values of the options ---

const TIME_KINDS: Kinds<TimeLimitOptions> = {
  hours: positive,
  minutes: positive,
  seconds: positive,
};

const PQ_KINDS: Kinds<PqOptions> = {
  alpha: positive,
  k: wholeFrom(2),
  tol: positive,
};

/** Checks the one parameter of a criterion by the rules of options. */
export function checkValue(what: string, name: string, its: Kind, value: unknown): void {
  keywordsOf(what, { [name]: its }, { [name]: value });
}

/** Formats a float as Julia prints it. */
const float = (value: number): string => (Number.isInteger(value) ? value.toFixed(1) : String(value));
