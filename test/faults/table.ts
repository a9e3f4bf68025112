/** The results as text: a block for each kind of training, a row for each place, a column for each fault. */
import { blows, type Fault } from "./faults.ts";

export interface Result {
  readonly fault: Fault;
  /** Why it was left out. */
  readonly skipped: string | undefined;
  readonly wrong: readonly string[];
}

const COLUMNS: readonly Fault["blow"][] = [...blows, "one after the other"];
const HEADS = ["worker", "program", "both", "stopped w.", "stopped p.", "cut", "full disk", "SIGTERM", "chain"];

const shown = (result: Result | undefined): string => {
  if (result === undefined) return "";
  if (result.skipped !== undefined) return "-";
  return result.wrong.length === 0 ? "ok" : "WRONG";
};

export function table(results: readonly Result[]): string {
  const lines: string[] = [];
  for (const kind of new Set(results.map(({ fault }) => fault.kind))) {
    const of = results.filter(({ fault }) => fault.kind === kind);
    lines.push(row(kind.name, HEADS));
    for (const where of new Set(of.map(({ fault }) => fault.where)))
      lines.push(
        row(
          `  ${where}`,
          COLUMNS.map((blow) => shown(of.find(({ fault }) => fault.where === where && fault.blow === blow))),
        ),
      );
    lines.push("");
  }
  const skipped = results.filter((result) => result.skipped !== undefined);
  const wrong = results.filter((result) => result.wrong.length > 0);
  const why = [...new Set(skipped.map((result) => result.skipped))].map(
    (one) => `${skipped.filter((result) => result.skipped === one).length} (${one})`,
  );
  const ok = results.length - skipped.length - wrong.length;
  lines.push(
    `${ok} ok, ${wrong.length} wrong, ${skipped.length} left out${why.length > 0 ? `: ${why.join(", ")}` : ""}`,
  );
  return lines.join("\n");
}

const row = (head: string, cells: readonly string[]): string =>
  [head.padEnd(40), ...cells.map((cell) => cell.padEnd(11))].join("").trimEnd();
