import type { MetricValue } from "../training/state.ts";
import { oneLine } from "../../bridge/errors/shown.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import type { Output } from "./progress-printer.ts";

/**
 * A table of the metrics of each epoch: one row for each phase, as it ends. An epoch in which the fit ends has a row of the part that was done; its number is
 * that of the epochs before it and the part, "2.4", or "2+" where it is not known how large the part is.
 */
export class MetricsPrinter extends CallbackObject {
  constructor({ output = process.stdout }: { readonly output?: Output } = {}) {
    let header = "";
    /** Metrics that have a column: those of one phase alone leave it blank in the rows of others. */
    let columns: readonly string[] = [];
    let started = 0;
    let isOpen = false;
    const row = (epoch: string, phase: string, metrics: readonly (readonly [string, MetricValue])[]): void => {
      const values = new Map(metrics);
      columns = [...new Set([...columns, ...values.keys()])];
      const cells: (readonly [name: string, value: string])[] = [
        ["epoch", epoch],
        ["phase", oneLine(phase)],
        ...columns.map((name) => [oneLine(name), number(values.get(name)?.value)] as const),
        ["time", `${((performance.now() - started) / 1000).toFixed(1)} s`],
      ];
      const widths = cells.map(([name, value]) => Math.max(name.length, value.length, MIN_WIDTH));
      const line = (texts: readonly string[]): string => texts.map((text, i) => text.padStart(widths[i]!)).join("  ");
      const heading = line(cells.map(([name]) => name));
      if (heading !== header) output.write(`${heading}\n`);
      header = heading;
      output.write(`${line(cells.map(([, value]) => value))}\n`);
    };
    super(
      callback({
        name: "MetricsPrinter",
        access: { state: { metricsEpoch: "read", history: "read" } },
        runAfter: ["ProgressPrinter"],
        observe: {
          fitBegin: () => {
            header = "";
            columns = [];
            isOpen = false;
          },
          epochBegin: () => {
            started = performance.now();
            isOpen = true;
          },
          epochEnd: ({ phase, epoch, state }) => {
            isOpen = false;
            const { epochs } = state.history[phase.name]!;
            const metrics = lastOf(state.metricsEpoch[phase.name]);
            row(
              String(epoch),
              phase.name,
              metrics.filter(([, { at, partial }]) => at === epochs && !partial),
            );
          },
          fitEnd: ({ phase, state, batches }) => {
            if (!isOpen || (state.history[phase.name]?.stepsEpoch ?? 0) === 0) return;
            isOpen = false;
            const metrics = lastOf(state.metricsEpoch[phase.name]).filter(([, { partial }]) => partial);
            const at = metrics[0]?.[1].at;
            if (at !== undefined) row(batches === undefined ? `${at - 1}+` : part(at), phase.name, metrics);
          },
        },
      }),
    );
  }
}

const MIN_WIDTH = 10;

const lastOf = (history: { readonly [metric: string]: readonly MetricValue[] } = {}): [string, MetricValue][] =>
  Object.entries(history).map(([name, values]) => [name, values.at(-1)!]);

/** Not rounded up: what is not done is not said to be. */
const part = (at: number): string => String(Math.floor(at * 100) / 100);

/** Five digits, as in FluxTraining. */
const number = (value: number | undefined): string =>
  value === undefined ? "" : Number.isFinite(value) ? String(Number(value.toPrecision(5))) : String(value);
