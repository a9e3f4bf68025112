/**
 * ParameterSchedulers.jl's cycles between two values, given in any order. Triangles and sines begin at the smaller
 * value, cosines at the larger. Steps count from 1. A triangle or a sine rises and falls once in `period` steps.
 */
import { checkNumbers, checkOptions, durationOf, type Duration, type Schedule } from "./schedule.ts";

/** Maps the number of past steps, and the period, to a height from 0 to 1. */
type Wave = (over: number, period: number) => number;

const triangleWave: Wave = (over, period) => (2 / Math.PI) * Math.abs(Math.asin(Math.sin((Math.PI * over) / period)));
const sineWave: Wave = (over, period) => Math.abs(Math.sin((Math.PI * over) / period));
const half: Wave = (over, period) => 2 ** Math.floor(over / period);

function cycle(what: string, from: number, to: number, period: Duration, wave: Wave): Schedule {
  checkNumbers(what, { from, to });
  const length = durationOf(`${what}: period`, period);
  const [least, height] = [Math.min(from, to), Math.abs(from - to)];
  return (t, run) => height * wave(t - 1, length(run)) + least;
}

/** Rises and falls in straight lines. */
export const triangle = (from: number, to: number, period: Duration): Schedule =>
  cycle("triangle", from, to, period, triangleWave);

/** `triangle`, half as high in each further period. */
export const triangleDecay2 = (from: number, to: number, period: Duration): Schedule =>
  cycle("triangleDecay2", from, to, period, (over, length) => triangleWave(over, length) / half(over, length));

/** `triangle`, its height multiplied by `decay` at each step. */
export function triangleExp(from: number, to: number, period: Duration, decay: number): Schedule {
  checkNumbers("triangleExp", { decay });
  return cycle("triangleExp", from, to, period, (over, length) => triangleWave(over, length) * decay ** over);
}

/** Rises and falls as |sin|, with a corner at the smaller value. */
export const sin = (from: number, to: number, period: Duration): Schedule => cycle("sin", from, to, period, sineWave);

/** `sin`, half as high in each further period. */
export const sinDecay2 = (from: number, to: number, period: Duration): Schedule =>
  cycle("sinDecay2", from, to, period, (over, length) => sineWave(over, length) / half(over, length));

/** `sin`, its height multiplied by `decay` at each step. */
export function sinExp(from: number, to: number, period: Duration, decay: number): Schedule {
  checkNumbers("sinExp", { decay });
  return cycle("sinExp", from, to, period, (over, length) => sineWave(over, length) * decay ** over);
}

export interface CosAnnealOptions {
  /**
   * True (default) restarts at the larger value after each period (SGDR, arXiv:1608.03983). False rises again as it
   * fell.
   */
  readonly restart?: boolean;
}

/** Falls from the larger value to the smaller one, along half a cosine, in `period` steps. */
export function cosAnneal(from: number, to: number, period: Duration, options: CosAnnealOptions = {}): Schedule {
  checkOptions("cosAnneal", options, ["restart"]);
  const { restart = true } = options;
  return cycle("cosAnneal", from, to, period, (over, length) => {
    const place = restart ? over % length : over;
    return (1 + Math.cos((Math.PI * place) / length)) / 2;
  });
}
