import type { MetricValue } from "../training/state.ts";
import { oneLine } from "../../bridge/errors/shown.ts";
import { CallbackObject, type Callback, type KeptState, type Observers } from "../callback/callback.ts";
import type { Output } from "./progress-printer.ts";

/**
 * Prints a table of the metrics of each epoch: one row for each phase, when it ends. An epoch in which the fit ends has
 * a row of the part that was done. Its number is that of the epochs before it and the part, "2.4", or "2+" where the
 * size of the part is not known.
 */
export class MetricsPrinter extends CallbackObject {
  override readonly name = "MetricsPrinter";
  override readonly access = { state: { metricsEpoch: "read", history: "read" } } as const;
  override readonly runAfter: Callback["runAfter"] = ["ProgressPrinter"];
  readonly #output: Output;
  #header = "";
  /** Metrics that have a column. A metric of one phase alone is blank in the rows of others. */
  #columns: readonly string[] = [];
  #started = 0;
  /** Whether an epoch has begun and not ended. */
  #isOpen = false;

  constructor({ output = process.stdout }: { readonly output?: Output } = {}) {
    super();
    this.#output = output;
  }

  override readonly observe: Observers<MetricsPrinter["access"]> = {
    fitBegin: () => {
      this.#header = "";
      this.#columns = [];
      this.#isOpen = false;
    },
    epochBegin: () => {
      this.#started = performance.now();
      this.#isOpen = true;
    },
    epochEnd: ({ phase, epoch, state }) => {
      this.#isOpen = false;
      const { epochs } = state.history[phase.name]!;
      const metrics = lastOf(state.metricsEpoch[phase.name]);
      this.#print(
        String(epoch),
        phase.name,
        metrics.filter(([, { at, partial }]) => at === epochs && !partial),
      );
    },
    fitEnd: ({ phase, state, batches }) => {
      if (!this.#isOpen || (state.history[phase.name]?.stepsEpoch ?? 0) === 0) return;
      this.#isOpen = false;
      const metrics = lastOf(state.metricsEpoch[phase.name]).filter(([, { partial }]) => partial);
      const at = metrics[0]?.[1].at;
      if (at !== undefined) this.#print(batches === undefined ? `${at - 1}+` : part(at), phase.name, metrics);
    },
  };

  override readonly state: KeptState = {
    save: () => [performance.now() - this.#started, this.#columns, this.#isOpen],
    load: ([passed, columns, isOpen]) => {
      this.#started = performance.now() - (passed as number);
      [this.#columns, this.#isOpen] = [columns, isOpen];
    },
  };

  /** Prints a row, and a header above it where the columns are others than before. */
  #print(epoch: string, phase: string, metrics: readonly (readonly [string, MetricValue])[]): void {
    const values = new Map(metrics);
    this.#columns = [...new Set([...this.#columns, ...values.keys()])];
    const cells: (readonly [name: string, value: string])[] = [
      ["epoch", epoch],
      ["phase", oneLine(phase)],
      ...this.#columns.map((name) => [oneLine(name), number(values.get(name)?.value)] as const),
      ["time", `${((performance.now() - this.#started) / 1000).toFixed(1)} s`],
    ];
    const widths = cells.map(([name, value]) => Math.max(name.length, value.length, MIN_WIDTH));
    const line = (texts: readonly string[]): string => texts.map((text, i) => text.padStart(widths[i]!)).join("  ");
    const header = line(cells.map(([name]) => name));
    if (header !== this.#header) this.#output.write(`${header}\n`);
    this.#header = header;
    this.#output.write(`${line(cells.map(([, value]) => value))}\n`);
  }
}

const MIN_WIDTH = 10;

const lastOf = (history: { readonly [metric: string]: readonly MetricValue[] } = {}): [string, MetricValue][] =>
  Object.entries(history).map(([name, values]) => [name, values.at(-1)!]);

/** Rounds down: a part that was not done must not count. */
const part = (at: number): string => String(Math.floor(at * 100) / 100);

/** Five digits, as in FluxTraining. */
const number = (value: number | undefined): string =>
  value === undefined ? "" : Number.isFinite(value) ? String(Number(value.toPrecision(5))) : String(value);
