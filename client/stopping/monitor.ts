/** Reads the metric by which one epoch is better than another. */
import type { DeepReadonly, State } from "../callback/access.ts";
import { misuse } from "./criterion.ts";

export type Direction = "min" | "max";

/** A loss must become small. For any other metric the user must say the direction. Throws MISUSE where they did not. */
export function directionOf(who: string, metric: string, mode: Direction | undefined): Direction {
  if (mode !== undefined) return mode;
  if (/loss/i.test(metric)) return "min";
  throw misuse(`${who}: must ${metric} become small or large? Say mode: "min" or mode: "max"`);
}

/**
 * The value of the last epoch of `phase`, or undefined where it had no step. Throws MISUSE where `phase` has no such
 * metric.
 */
export function valueOf(
  who: string,
  metric: string,
  phase: string,
  { metricsEpoch, history }: DeepReadonly<Pick<State, "metricsEpoch" | "history">>,
): number | undefined {
  const metrics = metricsEpoch[phase];
  if (metrics === undefined) return undefined;
  const values = metrics[metric];
  if (values === undefined)
    throw misuse(
      `${who}: monitor is ${JSON.stringify(metric)}, but ${phase} has no such metric; it has ${Object.keys(metrics).join(", ")}`,
    );
  const last = values.at(-1);
  return last !== undefined && last.at === history[phase]?.epochs ? last.value : undefined;
}
