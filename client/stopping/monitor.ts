/** The metric by which one epoch is better than another. */
import type { DeepReadonly, State } from "../callback/access.ts";
import { misuse } from "./criterion.ts";

export type Direction = "min" | "max";

/** Of a loss it is "min". Of anything else it must be said: nobody wants the epoch with the least accuracy. Throws MISUSE where it was not. */
export function directionOf(who: string, metric: string, mode: Direction | undefined): Direction {
  if (mode !== undefined) return mode;
  if (/loss/i.test(metric)) return "min";
  throw misuse(`${who}: is ${metric} to become small or large? Say mode: "min" or mode: "max"`);
}

/**
 * What the epoch of `phase` that has just ended gave; undefined for an epoch without a step. Throws MISUSE where that phase has no such metric.
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
      `${who}: monitor is ${JSON.stringify(metric)}, which is no metric of ${phase}: it has ${Object.keys(metrics).join(", ")}`,
    );
  const last = values.at(-1);
  return last !== undefined && last.at === history[phase]?.epochs ? last.value : undefined;
}
