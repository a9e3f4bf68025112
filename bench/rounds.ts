/** Interleaves variants: every round runs each variant once, so that a drift affects all of them. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Settings } from "./settings.ts";
import { watchForeign } from "./usage.ts";

/** One variant's measurements in one round, by the names that head the columns: `{ "ms/step": 3.1 }`. */
export type Readings = Readonly<Record<string, number>>;

export interface Variant {
  readonly name: string;
  /** Works for `runSeconds` or longer. */
  readonly run: () => Promise<Readings>;
}

/** Variants to compare with each other. */
export interface Contest {
  readonly name: string;
  /** The measure to compare by. */
  readonly primary: string;
  readonly better: "lower" | "higher";
  /** The variant that the others are compared with, if any. */
  readonly reference?: string;
  /** The measures in the table. The file has all of them. */
  readonly columns: readonly string[];
  readonly variants: readonly Variant[];
  readonly facts?: Readonly<Record<string, string | number | boolean>>;
  /** The rounds that are enough, where one takes minutes. Default: those of the run. */
  readonly rounds?: number;
  /** Variants that could not be measured, and why. */
  readonly notes?: Readonly<Record<string, string>>;
}

/** Processes that live together, and the measurements to make with them. */
export interface Opened {
  readonly contests: readonly Contest[];
  /** All processes that work for the bench, without this one. */
  readonly pids: readonly number[];
  readonly close: () => Promise<void>;
}

export interface Round {
  /** The number of the set of processes. */
  readonly start: number;
  /** The share of the CPUs' time that others used meanwhile; undefined where it is unknown. */
  readonly foreign: number | undefined;
  readonly readings: Readonly<Record<string, Readings>>;
}

export interface Measured {
  /** The contest of the first start. */
  readonly contest: Contest;
  readonly kept: Round[];
  dropped: number;
}

/** A round in which others used more than this share of the CPUs is measured again. */
export const MOST_FOREIGN = 0.05;
/** The most tries for each round that is wanted. */
const MOST_TRIES = 2;
/** The pause between two variants: libgomp's threads spin for some milliseconds after their work. */
const PAUSE_MS = 30;

/**
 * Rotates the variants, and reverses them after each full turn: each comes at every place, and before and after every
 * other.
 */
export function orderOf<T>(items: readonly T[], round: number): T[] {
  const by = round % items.length;
  const rotated = [...items.slice(by), ...items.slice(0, by)];
  return Math.floor(round / items.length) % 2 === 1 ? rotated.toReversed() : rotated;
}

/**
 * Measures with `starts` fresh sets of processes, one after the other, and shares the rounds evenly among them. The
 * place of a process's memory can decide its speed for life, so rounds of one start alone would all share the same
 * accident.
 */
export async function measure(
  open: (start: number) => Promise<Opened>,
  starts: number,
  { rounds, quick }: Pick<Settings, "rounds" | "quick">,
  progress: (text: string) => void,
  watch: typeof watchForeign = watchForeign,
): Promise<Measured[]> {
  const measured: Measured[] = [];
  for (let start = 0; start < starts; start++) {
    progress(`start ${start + 1} of ${starts}`);
    const opened = await open(start);
    try {
      for (const [i, contest] of opened.contests.entries()) {
        const so = (measured[i] ??= { contest, kept: [], dropped: 0 });
        const enough = Math.min(rounds, contest.rounds ?? rounds);
        const wanted = Math.ceil((enough - so.kept.length) / (starts - start));
        const target = so.kept.length + wanted;
        for (let tries = 0; so.kept.length < target && tries < MOST_TRIES * wanted; tries++) {
          progress(
            `start ${start + 1} of ${starts}, ${contest.name}: round ${so.kept.length + 1} of ${enough}, ${so.dropped} dropped`,
          );
          const round = await runOnce(contest.variants, so.kept.length, start, watch(opened.pids));
          const noisy = round.foreign !== undefined && round.foreign > MOST_FOREIGN;
          if (noisy && !quick) so.dropped++;
          else so.kept.push(round);
        }
      }
    } finally {
      await opened.close();
    }
  }
  return measured;
}

async function runOnce(
  variants: readonly Variant[],
  round: number,
  start: number,
  foreignShare: () => number | undefined,
): Promise<Round> {
  const readings: Record<string, Readings> = {};
  for (const { name, run } of orderOf(variants, round)) {
    readings[name] = await run();
    await sleep(PAUSE_MS);
  }
  return { start, foreign: foreignShare(), readings };
}
