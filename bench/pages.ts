/** Puts figures into the pages that quote them, between marks: `<!-- bench: loops -->` … `<!-- end of bench -->`. */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { judge } from "./bars.ts";
import { figure } from "./report.ts";
import type { Group, Results, Row } from "./results.ts";
import { sectionNames, type SectionName } from "./settings.ts";

/** The pages, from the top of the repository. */
export const pages = ["README.md", "docs/performance.md"] as const;

const MARKED = /<!-- bench: (\w+) -->[^]*?<!-- end of bench -->/g;

/** Writes the figures of `results` into every marked place of the pages. */
export async function writePages(results: Results): Promise<void> {
  for (const page of pages) {
    const file = fileURLToPath(new URL(`../${page}`, import.meta.url));
    await writeFile(file, fill(await readFile(file, "utf8"), results));
  }
}

/**
 * `text` with the figures of `results` in every marked place. A place whose section was not measured stays as it is.
 */
export function fill(text: string, results: Results): string {
  return text.replaceAll(MARKED, (before, name: string) => {
    const lines = name === "bars" ? barLines(results) : sectionLines(name, results);
    return lines.length === 0 ? before : `<!-- bench: ${name} -->\n\n${lines.join("\n")}\n\n<!-- end of bench -->`;
  });
}

function sectionLines(name: string, { machine, sections }: Results): string[] {
  if (!(sectionNames as readonly string[]).includes(name))
    throw new Error(`a page has a place for "${name}", which no section of the bench is called`);
  const section = sections[name as SectionName];
  if (section === undefined) return [];
  const of = Object.entries(section.versions)
    .filter(([what]) => ["node", "python", "torch", "tfjs", "pythonia"].includes(what))
    .map(([what, version]) => `${what} ${version}`);
  const gpu = name === "gpu" && machine.gpu ? `, ${machine.gpu}` : "";
  const about = `${machine.cpu}, ${machine.cores} cores${gpu}; ${[...of, section.date.slice(0, 10)].join(", ")}. Medians, with 95 % confidence intervals.`;
  return [about, ...section.groups.flatMap(groupLines)];
}

function groupLines(group: Group): string[] {
  const { name, primary, notes = {}, reference, rows } = group;
  const heads = [name, primary, ...othersOf(group), ...(reference === undefined ? [] : ["ratio"])];
  return [
    "",
    `| ${heads.join(" | ")} |`,
    `|${" --- |".repeat(heads.length)}`,
    ...rows.map((row) => `| ${cells(row, group).join(" | ")} |`),
    ...Object.entries(notes).map(([variant, note]) => `| ${variant} | ${note} |${" - |".repeat(heads.length - 2)}`),
  ];
}

/**
 * The measures that the table shows beside the primary one. With many variants of many measures it shows none; they are in the results.
 */
const othersOf = ({ columns, primary, rows }: Group): string[] =>
  columns.length > 3 && rows.length > 3 ? [] : columns.filter((column) => column !== primary);

function cells(row: Row, group: Group): string[] {
  const { primary, reference } = group;
  const { median, interval } = row.measures[primary]!;
  const range = (ends: readonly [number, number] | null, show: (n: number) => string): string =>
    ends === null ? "" : ` [${ends.map(show).join(", ")}]`;
  const others = othersOf(group).map((column) => figure(row.measures[column]?.median ?? NaN));
  const shown = [row.variant, figure(median) + range(interval, figure), ...others];
  if (reference === undefined) return shown;
  const fixed = (n: number): string => n.toFixed(2);
  const ratio = row.variant === reference ? "1" : fixed(row.ratio!.median) + range(row.ratio!.interval, fixed);
  return [...shown, ratio];
}

function barLines(results: Results): string[] {
  const judged = judge(results);
  if (judged.length === 0) return [];
  return [
    "| time or rate, as a ratio | aim | measured | |",
    "| --- | --- | --- | --- |",
    ...judged.map(({ bar, better, median, interval, verdict }) => {
      const aim = `${better === "lower" ? "at most" : "at least"} ${bar.ratio.toFixed(2)}`;
      const measured = `${median.toFixed(3)} [${interval.map((n) => n.toFixed(3)).join(", ")}]`;
      return `| ${bar.title} | ${aim} | ${measured} | ${verdict} |`;
    }),
  ];
}
