/** The table for people. */
import type { Machine } from "./machine.ts";
import type { Group, Results, Row, Section, Series } from "./results.ts";
import { sectionNames, type SectionName } from "./settings.ts";

export function reportMachine(machine: Machine): string {
  const { name, glibc, architecture } = machine;
  return `${name}, ${architecture}${glibc === null ? "" : `, glibc ${glibc}`}\n`;
}

/** The whole report of a file, as the bench printed it. */
export function reportAll({ machine, sections }: Results, titles: Readonly<Record<SectionName, string>>): string {
  const names = sectionNames.filter((name) => sections[name] !== undefined);
  return [reportMachine(machine), ...names.map((name) => reportSection(titles[name], sections[name]!))].join("\n");
}

export function reportSection(title: string, { date, seconds, commit, versions, load, groups }: Section): string {
  const of = Object.entries(versions).map(([what, version]) => `${what} ${version}`);
  const lines = [
    title,
    "=".repeat(title.length),
    `${date}, ${Math.round(seconds)} s${commit === null ? "" : `, commit ${commit}`}; load at start ${load.map((n) => n.toFixed(2)).join(" ")}`,
    of.join(", "),
  ];
  for (const group of groups) lines.push("", ...reportGroup(group));
  return `${lines.join("\n")}\n`;
}

function reportGroup(group: Group): string[] {
  const { name, facts, notes = {}, reference, better, columns, primary, rows } = group;
  const heads = ["", ...columns.map((column) => (column === primary ? `${column} [95 %]` : column))];
  const severalStarts = rows.some(({ ratioByStart }) => (ratioByStart?.length ?? 0) > 1);
  if (reference !== undefined) heads.push("ratio [95 %]");
  if (severalStarts) heads.push("ratio by start");
  const cells = rows.map((row) => [
    row.variant,
    ...columns.map((column) => cell(row.measures[column], column === primary)),
    ...(reference === undefined ? [] : [ratioCell(row, reference)]),
    ...(severalStarts ? [rangeCell(row, reference)] : []),
  ]);
  const known = Object.entries(facts).map(([what, value]) => `${what}: ${String(value)}`);
  const about = [roundsLine(group), ...known].join("; ");
  const ratio =
    reference === undefined
      ? []
      : [`ratio: ${primary} over that of "${reference}" in the same round, ${better} is better`];
  const missing = Object.entries(notes).map(([variant, note]) => `${variant}: ${note}`);
  return [name, "-".repeat(name.length), ...grid([heads, ...cells]), ...missing, about, ...ratio];
}

function roundsLine({ rounds: { kept, dropped, start, foreign } }: Group): string {
  if (kept === 0) return `no round kept, ${dropped} dropped for others' use of the CPUs`;
  const starts = new Set(start).size;
  const shares = foreign.filter((share) => share !== null);
  const others =
    shares.length === 0
      ? "what others used of the CPUs is not known here"
      : `${dropped} dropped for others' use of the CPUs, at most ${(100 * Math.max(...shares)).toFixed(1)} % of them in those kept`;
  return `${kept} rounds in ${starts} start${starts === 1 ? "" : "s"}, ${others}`;
}

function cell(series: Series | undefined, withInterval: boolean): string {
  if (series === undefined) return "-";
  const { median, interval } = series;
  if (!withInterval) return figure(median);
  return interval === null ? `${figure(median)} [-]` : `${figure(median)} [${interval.map(figure).join(", ")}]`;
}

function ratioCell({ variant, ratio }: Row, reference: string): string {
  if (ratio === undefined) return "-";
  if (variant === reference) return "1";
  const { median, interval } = ratio;
  return `${median.toFixed(3)} [${interval === null ? "-" : interval.map((n) => n.toFixed(3)).join(", ")}]`;
}

function rangeCell({ variant, ratioByStart }: Row, reference: string | undefined): string {
  if (variant === reference || ratioByStart === undefined) return "";
  return ratioByStart.map((n) => n.toFixed(3)).join(" ");
}

/** Rounds to four digits, or to a whole number where that has more. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return "-";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(4)));
}

/** Aligns the first column to the left, the others to the right. */
function grid(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) =>
    row
      .map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!)))
      .join("  ")
      .trimEnd(),
  );
}
