/** Ranks checkpoints and names them. */
import type { Direction } from "./monitor.ts";

interface Ranked {
  readonly value: number | undefined;
}

/**
 * The best first. Files without a value, or with NaN, come last, the latest of them first. `files` are in the order of
 * writing.
 */
export function bestFirst<T extends Ranked>(files: readonly T[], mode: Direction): T[] {
  const isBad = ({ value }: Ranked): boolean => value === undefined || Number.isNaN(value);
  const sign = mode === "min" ? 1 : -1;
  const ranked = files.filter((one) => !isBad(one)).toSorted((a, b) => sign * (a.value! - b.value!));
  return [...ranked, ...files.filter(isBad).toReversed()];
}

/** The `keep` best, and the last one. */
export function keptOf<T extends Ranked>(files: readonly T[], keep: number, mode: Direction): T[] {
  const best = new Set(bestFirst(files, mode).slice(0, keep));
  return files.filter((one) => best.has(one) || one === files.at(-1));
}

/** Splits "validation.accuracy" into phase and metric. The phase is undefined where the text names none. */
export function splitMonitor(monitor: string): [phase: string | undefined, metric: string] {
  const dot = monitor.indexOf(".");
  return dot < 0 ? [undefined, monitor] : [monitor.slice(0, dot), monitor.slice(dot + 1)];
}

interface Named {
  readonly epoch: number;
  /** The step, unless the epoch has ended. */
  readonly step: number | undefined;
  readonly monitor: string;
  readonly value: number | undefined;
}

export function checkpointName({ epoch, step, monitor, value }: Named): string {
  const parts = [
    `checkpoint_epoch_${String(epoch).padStart(3, "0")}`,
    ...(step === undefined ? [] : [`step_${step}`]),
    ...(value === undefined ? [] : [`${monitor.replaceAll(/[^A-Za-z0-9-]+/g, "_")}_${Number(value.toPrecision(4))}`]),
  ];
  return `${parts.join("_")}.safetensors`;
}
