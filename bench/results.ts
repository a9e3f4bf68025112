/**
 * The results of a run: figures computed from the rounds, and the rounds themselves, so that others can compute their
 * own.
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { slugOf, type Machine } from "./machine.ts";
import type { Measured, Readings, Round } from "./rounds.ts";
import type { SectionName } from "./settings.ts";
import { median, summarise, type Summary } from "./stats.ts";

const SCHEMA = 1;
export const resultsFolder: string = fileURLToPath(new URL("results/", import.meta.url));

export interface Series extends Summary {
  /** One value for each round. All series of a group have the values of a round at the same place. */
  readonly values: readonly number[];
}

export interface Row {
  readonly variant: string;
  readonly measures: Readonly<Record<string, Series>>;
  /** The primary measure over that of the reference, round by round. */
  readonly ratio?: Series;
  /** The ratio within each set of processes. */
  readonly ratioByStart?: readonly number[];
}

export interface Group {
  readonly name: string;
  readonly primary: string;
  readonly better: "lower" | "higher";
  readonly reference?: string;
  readonly columns: readonly string[];
  readonly facts: Readonly<Record<string, string | number | boolean>>;
  /** Variants that could not be measured, and why. */
  readonly notes?: Readonly<Record<string, string>>;
  readonly rounds: {
    readonly kept: number;
    /** The rounds that were enough, where that is fewer than those of the run. */
    readonly enough?: number;
    /** Rounds in which other processes used too much of the CPUs. */
    readonly dropped: number;
    /** The set of processes of each round kept. */
    readonly start: readonly number[];
    /** The share of the CPUs that others used in each round kept; null where it is unknown. */
    readonly foreign: readonly (number | null)[];
  };
  readonly rows: readonly Row[];
}

export interface Section {
  readonly date: string;
  readonly seconds: number;
  /** The commit that was measured; a `+` says that the working tree differed from it. Null outside of a checkout. */
  readonly commit: string | null;
  readonly versions: Readonly<Record<string, string>>;
  /** The load averages over 1, 5 and 15 minutes at the start. */
  readonly load: readonly number[];
  readonly groups: readonly Group[];
}

export interface Results {
  readonly schema: typeof SCHEMA;
  readonly machine: Machine;
  readonly sections: { readonly [K in SectionName]?: Section };
}

export function toGroup({ contest, kept, dropped }: Measured): Group {
  const { name, primary, better, reference, columns, variants, facts = {}, notes, rounds } = contest;
  return {
    name,
    primary,
    better,
    ...(reference === undefined ? {} : { reference }),
    columns,
    facts,
    ...(notes === undefined || Object.keys(notes).length === 0 ? {} : { notes }),
    rounds: {
      kept: kept.length,
      ...(rounds === undefined ? {} : { enough: rounds }),
      dropped,
      start: kept.map(({ start }) => start),
      foreign: kept.map(({ foreign }) => (foreign === undefined ? null : short(foreign))),
    },
    rows: variants.map((variant) => toRow(variant.name, kept, primary, reference)),
  };
}

function toRow(variant: string, kept: readonly Round[], primary: string, reference: string | undefined): Row {
  const readings = kept.map((round) => round.readings[variant]!);
  const measures: Record<string, Series> = {};
  for (const name of Object.keys(readings[0] ?? {})) measures[name] = toSeries(readings.map((of) => valueOf(of, name)));
  if (reference === undefined || kept.length === 0) return { variant, measures };
  const ratios = kept.map((round, i) => valueOf(readings[i]!, primary) / valueOf(round.readings[reference]!, primary));
  const starts = [...new Set(kept.map(({ start }) => start))];
  return {
    variant,
    measures,
    ratio: toSeries(ratios),
    ratioByStart: starts.map((start) => short(median(ratios.filter((_, i) => kept[i]!.start === start)))),
  };
}

function valueOf(readings: Readings, name: string): number {
  const value = readings[name];
  if (value === undefined) throw new Error(`a round has no "${name}"`);
  return value;
}

function toSeries(values: readonly number[]): Series {
  const { median, interval, p10, p90 } = summarise(values);
  return {
    median: short(median),
    interval: interval === null ? null : [short(interval[0]), short(interval[1])],
    p10: short(p10),
    p90: short(p90),
    values: values.map(short),
  };
}

const short = (value: number): number => Number(value.toPrecision(6));

/**
 * Puts `sections` into the file of `machine` in `folder`, in place of older ones. Returns the file's path and its whole
 * content.
 */
export async function writeResults(
  machine: Machine,
  sections: Results["sections"],
  folder: string = resultsFolder,
): Promise<{ file: string; results: Results }> {
  const file = join(folder, `${slugOf(machine)}.json`);
  const before = await readResults(file);
  const results: Results = { schema: SCHEMA, machine, sections: { ...before?.sections, ...sections } };
  await mkdir(folder, { recursive: true });
  const draft = `${file}.${process.pid}`;
  await writeFile(draft, format(results));
  await rename(draft, file);
  return { file, results };
}

/** Undefined where the file does not exist, or is not ours. */
export async function readResults(file: string): Promise<Results | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const results = JSON.parse(text) as Results;
    return results.schema === SCHEMA ? results : undefined;
  } catch {
    // A broken file must not cost us the new measurements.
    return undefined;
  }
}

/** Indented JSON with each list of numbers on one line, so that a diff shows the lines that changed. */
export function format(results: Results): string {
  const text = JSON.stringify(results, undefined, 2);
  const list = /\[\s+((?:(?:-?\d[\d.e+-]*|null),\s+)*(?:-?\d[\d.e+-]*|null))\s+\]/g;
  return `${text.replace(list, (_, items: string) => `[${items.replaceAll(/\s+/g, " ")}]`)}\n`;
}
