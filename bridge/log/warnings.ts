/**
 * Shows Python's warnings as Node shows its own, by `process.emitWarning`. Each is shown once for each line of the
 * program.
 */
import type { Batch } from "./batch.ts";
import { formatSite, shortSite } from "../errors/site.ts";
import { printable } from "../errors/shown.ts";
import type { WireWarnings } from "../wire/schema.ts";

/**
 * So many different texts of one category are shown for one line: a loop that warns in other words each time would fill
 * the screen.
 */
const MOST_OF_A_LINE = 10;
/** So many lines and categories are told apart. */
const MOST_LINES = 1000;

interface Line {
  readonly category: string;
  readonly where: string;
  readonly shown: Set<string>;
  left: number;
}

export class Warnings {
  readonly #lines = new Map<string, Line>();
  #left = 0;

  /** Shows the warnings in the reply to `batch`. */
  tell(batch: Batch, { told, left }: WireWarnings): void {
    for (const { id, category, message, operation } of told) {
      const own = id - batch.first;
      // Where the library made the operation, the program's call of the library has made it.
      const site = own < 0 ? undefined : (formatSite(batch.sites.sites[own]) ?? formatSite(batch.caller));
      this.show(category, message, operation, site);
    }
    this.#left += left;
  }

  /** Shows a warning. Without an operation that raised it, it has no line. */
  show(category: string, message: string, operation = "", site?: string): void {
    const line = this.#lineOf(category, site ?? "");
    if (line === undefined || line.shown.has(message)) return;
    if (line.shown.size >= MOST_OF_A_LINE) {
      if (line.left++ === 0) emit(category, `what else is warned of ${line.where} is only counted`, site);
      return;
    }
    line.shown.add(message);
    const what = [operation === "" ? "" : `in ${operation}`, site === undefined ? "" : `at ${shortSite(site)}`];
    const about = what.filter((part) => part !== "").join(" ");
    emit(category, `${printable(message)}${about === "" ? "" : ` (${printable(about)})`}`, site);
  }

  /** Says how many warnings were left out. */
  end(): void {
    for (const { category, where, left } of this.#lines.values())
      if (left > 0) emit(category, `${left} more warnings ${where} were left out`, undefined);
    if (this.#left > 0) emit("Warning", `${this.#left} more warnings of Python's were left out`, undefined);
    this.#lines.clear();
    this.#left = 0;
  }

  #lineOf(category: string, site: string): Line | undefined {
    const key = `${category}\n${site}`;
    let line = this.#lines.get(key);
    if (line === undefined && this.#lines.size < MOST_LINES) {
      const where = site === "" ? "outside of operations" : `at ${shortSite(site)}`;
      this.#lines.set(key, (line = { category, where, shown: new Set(), left: 0 }));
    }
    if (line === undefined) this.#left++;
    return line;
  }
}

function emit(category: string, message: string, site: string | undefined): void {
  process.emitWarning(message, {
    type: "PythonWarning",
    code: category,
    ...(site === undefined ? {} : { detail: `    at ${site}` }),
  });
}
