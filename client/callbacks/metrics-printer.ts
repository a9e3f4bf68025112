import { callback, CallbackObject } from "../callback/callback.ts";
import type { Output } from "./progress-printer.ts";

/** A table of the metrics of each epoch: one row for each phase, as it ends. */
export class MetricsPrinter extends CallbackObject {
  constructor({ output = process.stdout }: { readonly output?: Output } = {}) {
    let header = "";
    let started = 0;
    super(
      callback({
        name: "MetricsPrinter",
        access: { state: { metricsEpoch: "read", history: "read" } },
        runAfter: ["ProgressPrinter"],
        observe: {
          fitBegin: () => {
            header = "";
          },
          epochBegin: () => {
            started = performance.now();
          },
          epochEnd: ({ phase, epoch, state }) => {
            const metrics = Object.entries(state.metricsEpoch[phase.name] ?? {});
            const cells: [name: string, value: string][] = [
              ["epoch", String(epoch)],
              ["phase", phase.name],
              ...metrics.map(([name, values]): [string, string] => [name, number(values.at(-1)!.value)]),
              ["time", `${((performance.now() - started) / 1000).toFixed(1)} s`],
            ];
            const widths = cells.map(([name, value]) => Math.max(name.length, value.length, MIN_WIDTH));
            const line = (texts: readonly string[]): string =>
              texts.map((text, i) => text.padStart(widths[i]!)).join("  ");
            const heading = line(cells.map(([name]) => name));
            if (heading !== header) output.write(`${heading}\n`);
            header = heading;
            output.write(`${line(cells.map(([, value]) => value))}\n`);
          },
        },
      }),
    );
  }
}

const MIN_WIDTH = 10;

/** Five digits, as in FluxTraining. */
const number = (value: number): string =>
  Number.isFinite(value) ? String(Number(value.toPrecision(5))) : String(value);
