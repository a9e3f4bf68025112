/** Schedules: the reference values, and the formulas of the libraries that they are from. */
import { describe, expect, test } from "vitest";
import { oneCycle } from "torchwire";
import { plot, type Duration, type RunLength, type Schedule } from "torchwire/schedules";
import * as schedules from "torchwire/schedules";
import { caught } from "../../observed.ts";
import { unchecked } from "../../tiny.ts";

const {
  anneal,
  composed,
  constant,
  cosAnneal,
  cosineAnnealingWarmRestarts,
  cyclicLR,
  exp,
  interpolator,
  inv,
  linearLR,
  loop,
  multiStepLR,
  oneCycleLR,
  poly,
  polynomialLR,
  sequence,
  shifted,
  shortened,
  sin,
  sinDecay2,
  sinExp,
  stateful,
  step,
  stepLR,
  triangle,
  triangleDecay2,
  triangleExp,
  warmUp,
} = schedules;

const values = (schedule: Schedule, count: number, run?: RunLength): number[] =>
  Array.from({ length: count }, (_, i) => schedule(i + 1, run));

/** The largest difference; Infinity where there are not as many. */
const apart = (found: readonly number[], expected: readonly number[]): number =>
  found.length === expected.length ? Math.max(...found.map((value, i) => Math.abs(value - expected[i]!))) : Infinity;

describe("2.7: reference values", () => {
  test("FluxTraining's onecycle, which ends where it is to end", () => {
    const schedule = oneCycle(8, 1, { form: "sine" });
    expect(apart(values(schedule, 8), [0.04, 0.71882, 1, 0.96593, 0.86603, 0.70711, 0.500005, 0.25883])).toBeLessThan(
      6e-6,
    );
    // Theirs rises again: .25883 at step 10.
    expect([9, 10, 11, 1000].map((t) => schedule(t))).toEqual([1e-5, 1e-5, 1e-5, 1e-5]);
  });

  test("ParameterSchedulers' OneCycle, which is fastai's", () => {
    const schedule = oneCycle(8, 1);
    expect(apart(values(schedule, 8), [0.04, 0.52, 1, 0.93301, 0.75, 0.50001, 0.25001, 0.067])).toBeLessThan(6e-6);
    expect([9, 10, 1000].map((t) => schedule(t))).toEqual([1e-5, 1e-5, 1e-5]);
    // combine_scheds([.25, .75], [SchedCos(.04, 1), SchedCos(1, 1e-5)]) at (t - 1) / 8.
    const cos = (from: number, to: number, at: number): number =>
      from + ((1 + Math.cos(Math.PI * (1 - at))) * (to - from)) / 2;
    const fastai = Array.from({ length: 8 }, (_, i) => (i < 2 ? cos(0.04, 1, i / 2) : cos(1, 1e-5, (i - 2) / 6)));
    expect(apart(values(schedule, 8), fastai)).toBeLessThan(1e-12);
  });

  test("a Sequence of a constant and a Step, whose last stage goes on", () => {
    const schedule = sequence([1, 1], [step(0.1, 0.5, 10), 50]);
    expect(
      apart(
        [1, 2, 42, 52].map((t) => schedule(t)),
        [1, 0.1, 0.00625, 0.003125],
      ),
    ).toBeLessThan(1e-12);
  });

  test("an Interpolator of a Poly", () => {
    const schedule = interpolator(poly(1e-4, 1, 10), 16);
    const found = values(schedule, 160);
    expect(found.slice(0, 16)).toEqual(Array(16).fill(1e-4));
    expect(apart(found.slice(16, 32), Array<number>(16).fill(9e-5))).toBeLessThan(1e-18);
    expect(apart([found[159]!], [1e-5])).toBeLessThan(1e-18);
  });
});

describe("2.9.17: the formulas of ParameterSchedulers' tests", () => {
  const tri = (t: number, p: number): number => (2 / Math.PI) * Math.abs(Math.asin(Math.sin((Math.PI * (t - 1)) / p)));
  const sine = (t: number, p: number): number => Math.abs(Math.sin((Math.PI * (t - 1)) / p));
  const cosine = (t: number, p: number): number => (1 + Math.cos((Math.PI * (t - 1)) / p)) / 2;
  const cycle = (a: number, b: number, x: number): number => Math.abs(a - b) * x + Math.min(a, b);

  test.each([
    [0.3, 0.9, 7],
    [0.9, 0.3, 7],
    [-1, 2, 4],
    [0.5, 0.1, 1],
  ])("cycles between %f and %f, with a period of %i", (a, b, p) => {
    const pairs: [Schedule, (t: number) => number][] = [
      [triangle(a, b, p), (t) => cycle(a, b, tri(t, p))],
      [triangleDecay2(a, b, p), (t) => cycle(a, b, tri(t, p) / 2 ** Math.floor((t - 1) / p))],
      [triangleExp(a, b, p, 0.8), (t) => cycle(a, b, tri(t, p) * 0.8 ** (t - 1))],
      [sin(a, b, p), (t) => cycle(a, b, sine(t, p))],
      [sinDecay2(a, b, p), (t) => cycle(a, b, sine(t, p) / 2 ** Math.floor((t - 1) / p))],
      [sinExp(a, b, p, 0.8), (t) => cycle(a, b, sine(t, p) * 0.8 ** (t - 1))],
      [cosAnneal(a, b, p), (t) => cycle(a, b, cosine(((t - 1) % p) + 1, p))],
      [cosAnneal(a, b, p, { restart: false }), (t) => cycle(a, b, cosine(t, p))],
    ];
    for (const [found, expected] of pairs)
      expect(
        apart(
          values(found, 100),
          Array.from({ length: 100 }, (_, i) => expected(i + 1)),
        ),
      ).toBeLessThan(1e-12);
  });

  test("triangles and sines begin at the smaller value, cosines at the larger", () => {
    for (const schedule of [triangle, triangleDecay2, sin, sinDecay2]) expect(schedule(5, 2, 10)(1)).toBe(2);
    expect(cosAnneal(2, 5, 10)(1)).toBe(5);
    expect(triangle(5, 2, 10)(6)).toBeCloseTo(5, 12);
  });

  test("decays", () => {
    const powers = (of: (i: number) => number, count = 40): number[] => Array.from({ length: count }, (_, i) => of(i));
    expect(
      apart(
        values(exp(0.7, 0.9), 40),
        powers((i) => 0.7 * 0.9 ** i),
      ),
    ).toBeLessThan(1e-12);
    expect(
      apart(
        values(inv(0.7, 0.3, 2), 40),
        powers((i) => 0.7 / (1 + i * 0.3) ** 2),
      ),
    ).toBeLessThan(1e-12);
    expect(
      apart(
        values(poly(0.7, 3, 40), 40),
        powers((i) => 0.7 * (1 - i / 40) ** 3),
      ),
    ).toBeLessThan(1e-12);
    expect(
      apart(
        values(step(0.7, 0.5, 4), 40),
        powers((i) => 0.7 * 0.5 ** Math.floor(i / 4)),
      ),
    ).toBeLessThan(1e-12);
    // Two ranges: the last one goes on.
    expect(apart(values(step(1, 0.5, [3, 2]), 8), [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5])).toBeLessThan(1e-12);
    expect(apart(values(step(1, 0.5, [3, 2, 1]), 8), [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25])).toBeLessThan(1e-12);
    expect(values(constant(0.3), 3)).toEqual([0.3, 0.3, 0.3]);
  });

  test("sequences of functions, loops, shifts, and what counts by itself", () => {
    const both = sequence([Math.log, 4], [Math.sqrt, 3]);
    for (let t = 1; t < 20; t++) expect(both(t)).toBe(t > 4 ? Math.sqrt(t - 4) : Math.log(t));
    expect(values(sequence([0.2, 3], [0.7, 2]), 7)).toEqual([0.2, 0.2, 0.2, 0.7, 0.7, 0.7, 0.7]);
    const looped = loop(Math.log, 6);
    for (let t = 1; t < 40; t++) expect(looped(t)).toBe(Math.log(((t - 1) % 6) + 1));
    expect(values(shifted(Math.sqrt, 5), 3)).toEqual([5, 6, 7].map(Math.sqrt));

    const counting = stateful(Math.log);
    expect(Array.from({ length: 100 }, () => counting.next())).toEqual(values(Math.log, 100));
    counting.reset();
    expect(counting.next()).toBe(Math.log(1));
    const every = stateful((t) => t, { advance: (t) => t < 2 });
    expect([every.next(), every.next(), every.next()]).toEqual([1, 2, 2]);
  });

  test("a schedule whose parameters are scheduled", () => {
    const schedule = composed((top, low) => sin(low, top, 10), [exp(1, 0.9), 0.1]);
    for (let t = 1; t < 30; t++) expect(schedule(t)).toBe(sin(0.1, 0.9 ** (t - 1), 10)(t));
  });

  test("what is past the end of a poly, or of a shortened schedule, is an error, as theirs", async () => {
    expect(poly(1, 1, 10)(10)).toBeCloseTo(0.1, 12);
    expect(await caught(() => poly(1, 1, 10)(11))).toMatchObject({
      code: "MISUSE",
      message: "poly ends after 10 steps, and was asked for step 11; use sequence to say what follows",
    });
    expect(shortened(exp(1, 0.5), 3)(3)).toBe(0.25);
    expect(await caught(() => shortened(exp(1, 0.5), 3)(4))).toMatchObject({ code: "MISUSE" });
  });
});

describe("durations", () => {
  const run = { steps: 60, stepsPerEpoch: 20 };

  test.each<[Duration, number]>([
    [7, 7],
    ["1ep", 20],
    ["2.5ep", 50],
    ["run", 60],
    ["0.5run", 30],
    [".25run", 15],
    ["1e-9run", 1],
    ["0.01run", 1],
  ])("%s of 3 epochs of 20 steps are %i", (duration, steps) => {
    // The last step at 1, and the first one at 0.
    const schedule = sequence([1, duration], [0, 1]);
    expect([schedule(steps, run), schedule(steps + 1, run)]).toEqual([1, 0]);
  });

  test("a share of the run in a part of it is a share of that part", () => {
    const half = sequence([1, "0.5run"], [0]);
    expect(values(sequence([half, 4], [half, "0.1run"], [half]), 20, { steps: 20 })).toEqual([
      1,
      1,
      0,
      0,
      1,
      0,
      ...Array<number>(7).fill(1),
      ...Array<number>(7).fill(0),
    ]);
    expect(values(loop(half, 4), 8, { steps: 100 })).toEqual([1, 1, 0, 0, 1, 1, 0, 0]);
    // In epochs: the run has 3 of them, and half of that are 2.
    expect(values(interpolator(half, "1ep"), 60, run)).toEqual([
      ...Array<number>(40).fill(1),
      ...Array<number>(20).fill(0),
    ]);
    // The warm-up leaves 8 steps.
    expect(values(warmUp(2, half), 10, { steps: 10 })).toEqual([0, 0.5, 1, 1, 1, 1, 0, 0, 0, 0]);
  });

  test.each<[string, () => unknown, RegExp]>([
    [
      "the run's length",
      () => oneCycle("run", 1)(1),
      /^oneCycle: duration is 'run', and the number of steps in the run is not known here/,
    ],
    [
      "an epoch's",
      () => step(1, 0.5, "2ep")(1, { steps: 5 }),
      /^step: sizes is '2ep', and the number of steps in an epoch is not known/,
    ],
    [
      "that of words",
      () => step(1, 0.5, unchecked("2 epochs")),
      /^step: sizes is '2 epochs'; it must be a number of steps above 0, or of epochs, "10ep"/,
    ],
    ["that of nothing", () => oneCycle(0, 1), /^oneCycle: duration is 0; /],
    ["that of an epoch by itself", () => exp.length && loop((t) => t, unchecked("ep")), /^loop: period is 'ep'; /],
    ["that of no run", () => loop((t) => t, "0run"), /^loop: period is '0run'; /],
  ])("where %s is not there, it is said", async (_, run_, message) => {
    expect(await caught(run_)).toMatchObject({ code: "MISUSE", message: expect.stringMatching(message) as string });
  });
});

describe("fastai's", () => {
  test("ways from one value to another", () => {
    // SchedLin, SchedCos, SchedExp and SchedPoly of (1, 2), as fastai's documentation shows them.
    expect(apart(values(anneal(1, 2, 4), 6), [1, 1.25, 1.5, 1.75, 2, 2])).toBeLessThan(1e-12);
    expect(apart(values(anneal(1, 2, 4, "cosine"), 6), [1, 1.14645, 1.5, 1.85355, 2, 2])).toBeLessThan(6e-6);
    expect(apart(values(anneal(1, 2, 4, "exponential"), 6), [1, 1.18921, 1.41421, 1.68179, 2, 2])).toBeLessThan(6e-6);
    expect(
      apart(
        values(
          anneal(1, 2, 4, (x) => x ** 2),
          6,
        ),
        [1, 1.0625, 1.25, 1.5625, 2, 2],
      ),
    ).toBeLessThan(1e-12);
  });

  test("a warm-up ends where the schedule begins", () => {
    expect(apart(values(warmUp(4, exp(1, 0.5)), 7), [0, 0.25, 0.5, 0.75, 1, 0.5, 0.25])).toBeLessThan(1e-12);
    expect(apart(values(warmUp(4, constant(1), 0.2), 6), [0.2, 0.4, 0.6, 0.8, 1, 1])).toBeLessThan(1e-12);
  });
});

describe("PyTorch's, by their closed forms", () => {
  test.each<[string, Schedule, number[]]>([
    // The examples of its documentation.
    ["StepLR", stepLR(0.05, { stepSize: 30 }), [...Array(30).fill(0.05), ...Array(30).fill(0.005), 0.0005]],
    [
      "MultiStepLR",
      multiStepLR(0.05, { milestones: [30, 80] }),
      [...Array(30).fill(0.05), ...Array(50).fill(0.005), 0.0005],
    ],
    ["LinearLR", linearLR(0.05, { startFactor: 0.5, totalIters: 4 }), [0.025, 0.03125, 0.0375, 0.04375, 0.05, 0.05]],
    ["PolynomialLR", polynomialLR(0.05, { totalIters: 4 }), [0.05, 0.0375, 0.025, 0.0125, 0, 0]],
    [
      "CosineAnnealingWarmRestarts",
      cosineAnnealingWarmRestarts(1, { t0: 2, tMult: 2 }),
      [1, 0.5, 1, 0.853553390593274, 0.5, 0.146446609406726, 1],
    ],
    ["CyclicLR", cyclicLR(0, 1, { stepSizeUp: 2, mode: "triangular2" }), [0, 0.5, 1, 0.5, 0, 0.25, 0.5, 0.25, 0]],
    [
      "OneCycleLR",
      oneCycleLR(1, { totalSteps: 5, pctStart: 0.4, annealStrategy: "linear", divFactor: 10, finalDivFactor: 10 }),
      [0.1, 1, 0.67, 0.34, 0.01, 0.01],
    ],
  ])("%s", (_, schedule, expected) => {
    expect(apart(values(schedule, expected.length), expected)).toBeLessThan(1e-12);
  });
});

test.each<[string, () => unknown, RegExp]>([
  ["a number that is none", () => exp(unchecked("1"), 0.5), /^exp: start is '1'; it must be a number$/],
  [
    "an option that is none",
    () => oneCycle(5, 1, unchecked({ start: 1 })),
    /^oneCycle has no option "start"; it has startValue, /,
  ],
  [
    "a share above 1",
    () => oneCycle(5, 1, { percentStart: 30 }),
    /^oneCycle: percentStart is 30; it must be from 0 to 1$/,
  ],
  [
    "a form",
    () => oneCycle(5, 1, { form: unchecked("cos") }),
    /^oneCycle: form is 'cos'; it must be "cosine" or "sine"$/,
  ],
  [
    "a stage that is none",
    () => sequence(unchecked(exp(1, 1))),
    /^sequence: stage 0 is .*; it must be \[schedule, duration\]$/,
  ],
  [
    "a stage without an end",
    () => sequence([1], [2, 5]),
    /^sequence: stage 0 has no duration; only the last stage may leave it out$/,
  ],
  ["no stage", () => sequence(), /^sequence: there are no stages/],
  [
    "a growth through 0",
    () => anneal(0, 1, 5, "exponential"),
    /^anneal: "exponential" multiplies, so it cannot lead from 0 to 1$/,
  ],
  ["no ranges", () => step(1, 0.5, []), /^step: sizes is an empty array/],
  [
    "a mode",
    () => cyclicLR(0, 1, { mode: unchecked("sawtooth") }),
    /^cyclicLR: mode is 'sawtooth'; it must be one of triangular, triangular2, exp_range$/,
  ],
])("MISUSE where it is made: %s", async (_, make, message) => {
  expect(await caught(make)).toMatchObject({ code: "MISUSE", message: expect.stringMatching(message) as string });
});

describe("plots", () => {
  test("a schedule as text, as wide and as high as asked", () => {
    const text = plot((t) => t, { steps: 8, width: 12, height: 2 });
    const lines = text.split("\n");
    expect(lines).toHaveLength(4);
    expect(lines[0]).toMatch(/^ 8│[\u2800-\u28ff]{9}$/);
    expect(lines[1]).toMatch(/^ 1│[\u2800-\u28ff]{9}$/);
    expect(lines[2]).toBe("  └─────────");
    expect(lines[3]).toBe("   1       8");
  });

  test("a rise is at the left below and at the right above; durations are those of its steps", () => {
    const rows = plot(anneal(0, 1, "run"), { steps: 100, width: 40, height: 6 }).split("\n");
    const inked = (row: string): boolean[] =>
      Array.from(row)
        .filter((c) => c >= "\u2800" && c <= "\u28ff")
        .map((c) => c !== "\u2800");
    const [top, bottom] = [inked(rows[0]!), inked(rows[5]!)];
    expect([top[0], top.at(-1), bottom[0], bottom.at(-1)]).toEqual([false, true, true, false]);
    expect(plot(step(1, 0.5, "1ep"), { steps: 10, stepsPerEpoch: 5 })).toContain("1│");
    expect(plot(constant(3), { steps: 1 })).toContain("3│");
  });
});
