/** Early-stopping criteria against EarlyStopping.jl's vectors, and where they differ from it on purpose. */
import { describe, expect, test } from "vitest";
import type { StoppingCriterion } from "torchwire/stopping";
import * as stopping from "torchwire/stopping";
import { caught } from "../../observed.ts";
import { unchecked } from "../../tiny.ts";

const {
  criterion,
  disjunction,
  gl,
  invalidValue,
  never,
  numberLimit,
  numberSinceBest,
  or,
  patience,
  pq,
  stoppingTime,
  threshold,
  timeLimit,
  warmup,
} = stopping;

const LOSSES = [10, 8, 9, 10, 11, 12, 12, 13, 14, 15, 16, 17, 16];

/** The message once it has seen `losses`, one a second. */
function messageAfter(one: StoppingCriterion, losses: readonly number[]): string {
  let state: unknown;
  for (const [i, loss] of losses.entries()) state = one.update(loss, state, 1000 * i);
  return one.message(state);
}

describe("2.8: when each stops, 0 for never", () => {
  test.each<[string, StoppingCriterion, number]>([
    ["Never", never(), 0],
    ["Patience(6)", patience(6), 0],
    ["Patience, 5 by default", patience(), 12],
    ["Patience(4)", patience(4), 6],
    ["Patience(3)", patience(3), 5],
    ["Patience(2)", patience(2), 4],
    ["Patience(1)", patience(1), 3],
    ["NumberSinceBest, 6 by default", numberSinceBest(), 8],
    ["NumberSinceBest(5)", numberSinceBest(5), 7],
    ["NumberSinceBest(4)", numberSinceBest(4), 6],
    ["NumberSinceBest(3)", numberSinceBest(3), 5],
    ["NumberSinceBest(2)", numberSinceBest(2), 4],
    ["NumberSinceBest(1)", numberSinceBest(1), 3],
    ["GL, 2 by default", gl(), 3],
    ["GL(12)", gl(12), 3],
    ["GL(20)", gl(20), 4],
    ["GL(40)", gl(40), 6],
    ["GL(90)", gl(90), 11],
    ["GL(110)", gl(110), 12],
    ["GL(1000)", gl(1000), 0],
    ["NumberLimit, 100 by default", numberLimit(), 0],
    ["InvalidValue", invalidValue(), 0],
    ["Threshold, 0 by default", threshold(), 0],
    // Two more, by hand: strictly above, strictly below.
    ["GL(12.5), where the loss is 12.5 % above the best in the third place", gl(12.5), 4],
    ["Threshold(8), which the least is not below", threshold(8), 0],
  ])("%s", (_, one, at) => {
    expect(stoppingTime(one, LOSSES)).toBe(at);
  });

  test.each(LOSSES.map((_, i) => i + 1))("NumberLimit(%i)", (i) => {
    expect(stoppingTime(numberLimit(i), LOSSES)).toBe(i);
    // Longer by one, for the last.
    expect(stoppingTime(warmup(numberLimit(1), i), [...LOSSES, 16])).toBe(i + 1);
  });

  test("NumberSinceBest where the best one comes again", () => {
    const losses = [10, 9, 8, 9, 10, 7, 10, 10, 10, 10];
    expect([2, 3].map((n) => stoppingTime(numberSinceBest(n), losses))).toEqual([5, 9]);
    // A loss that equals the best is not better.
    expect(stoppingTime(numberSinceBest(2), [3, 3, 3])).toBe(3);
  });

  test("NumberLimit looks at no training loss", () => {
    expect(stoppingTime(numberLimit(2), [1, 1, 1, 1, 1], [true, true, false, true, false])).toBe(2);
  });

  test("Threshold", () => {
    expect(stoppingTime(threshold(2.5), [12, 32, 3, 2, 5, 7])).toBe(4);
  });

  test.each([NaN, Infinity, -Infinity])("InvalidValue at %f, wherever it is, and from then on", (bad) => {
    for (let at = 1; at <= 5; at++) {
      const losses = Array.from({ length: 5 }, (_, i) => (i + 1 === at ? bad : 123.4));
      expect(stoppingTime(invalidValue(), losses)).toBe(at);
    }
    // These are training losses, which do not count. The third loss is the first that counts.
    const isTraining = LOSSES.map((_, i) => (i + 1) % 3 > 0);
    expect(stoppingTime(invalidValue(), LOSSES, isTraining)).toBe(0);
    for (const place of [4, 6, 7]) {
      const losses = LOSSES.map((loss, i) => (i === place ? bad : loss));
      expect(stoppingTime(invalidValue(), losses, isTraining)).toBe(Math.floor((place + 1) / 3));
    }
    const sticky = invalidValue();
    expect(sticky.done(sticky.update(1, sticky.updateTraining(bad, undefined, 0), 1))).toBe(true);
  });

  test("TimeLimit begins with the first loss, and is over when more has passed", () => {
    const seconds = (n: number): StoppingCriterion => timeLimit({ seconds: n });
    expect([1.5, 2, 12].map((n) => stoppingTime(seconds(n), LOSSES))).toEqual([3, 4, 0]);
    const limit = timeLimit({ minutes: 1 });
    const state = limit.updateTraining(1, undefined, 5000);
    expect([65_000, 65_001].map((now) => limit.done(limit.update(1, state, now)))).toEqual([false, true]);
    const hour = (now: number): boolean => {
      const one = timeLimit();
      return one.done(one.update(1, one.update(1, undefined, 0), now));
    };
    expect([1_800_000, 1_800_001].map(hour)).toEqual([false, true]);
    expect(timeLimit({ hours: 1 }).name).toBe("TimeLimit(1 hours)");
  });
});

describe("2.8: PQ", () => {
  /**
   * By the formula, by hand, for k = 2: each row is training losses, then the other one. E.g. the third: the last two
   * training losses are 8.3 and 8.4, so P = 1000 (8.35 - 8.3) / 8.3 = 6.02; the loss is 9 and the best was 8, so GL =
   * 12.5; PQ = 12.5 / 6.02 = 2.08.
   */
  const rows: readonly (readonly [losses: readonly number[], pq: number])[] = [
    [[9.5, 9.3, 10], 0],
    [[9.3, 9.1, 8.9, 8], 0],
    [[8.3, 8.4, 9], 2.08],
    [[9.9, 9.5, 10], 1.19],
    [[10.6, 10.4, 11], 3.9],
    [[8888, 11.8, 11.7, 12], 11.7],
    [[11.6, 11.4, 12], 5.7],
    [[12.2, 12.1, 13], 15.12],
    [[14.5, 14.1, 14], 5.29],
    [[13.9, 13.7, 15], 11.99],
    [[12.5, 12.3, 16], 12.3],
    [[11.2, 11, 17], 12.38],
    [[10.5, 10.3, 16], 10.3],
  ];
  const losses = rows.flatMap(([of]) => of);
  const isTraining = rows.flatMap(([of]) => of.map((_, i) => i < of.length - 1));

  test.each([
    [2, 3],
    [3.8, 5],
    [11.6, 6],
    [15.1, 8],
    [15.3, 0],
  ])("alpha %f: stops at %i", (alpha, at) => {
    expect(stoppingTime(pq({ alpha, k: 2 }), losses, isTraining)).toBe(at);
  });

  test("each row's PQ lies between the two alphas next to it", () => {
    for (const [i, [, value]] of rows.entries()) {
      // The rows before it, but without their own stops.
      const stops = (alpha: number): boolean => {
        const one = pq({ alpha, k: 2 });
        let state: unknown;
        for (const [of] of rows.slice(0, i + 1)) {
          for (const loss of of.slice(0, -1)) state = one.updateTraining(loss, state as never, 0);
          state = one.update(of.at(-1)!, state as never, 0);
        }
        return one.done(state as never);
      };
      expect([stops(value + 0.01), stops(Math.max(1e-9, value - 0.01))], `row ${i + 1}`).toEqual([false, value > 0]);
    }
  });

  test("not before there are k training losses, nor after one of them", () => {
    const one = pq({ alpha: 10, k: 2 });
    let state = one.updateTraining(10, undefined, 0);
    state = one.update(10, state, 0);
    expect(one.done(state)).toBe(false);
    state = one.updateTraining(10, state, 0);
    expect(one.done(state)).toBe(false);
    // No progress at all.
    expect(one.done(one.update(10, state, 0))).toBe(true);
    const barely = pq({ tol: 1000, k: 2 });
    expect(stoppingTime(barely, [2, 1, 1], [true, true, false])).toBe(1);
    expect(stoppingTime(pq({ tol: 499, k: 2 }), [2, 1, 1], [true, true, false])).toBe(0);
  });
});

describe("made of others", () => {
  test("warmup: nothing of the first n is seen, and messages are the inner one's", () => {
    // 10 8 | 9 10 11: two rises after the first loss that is seen.
    expect(stoppingTime(warmup(patience(2), 2), LOSSES)).toBe(5);
    expect(stoppingTime(warmup(invalidValue(), 2), [NaN, NaN, 1, 1])).toBe(0);
    expect(stoppingTime(warmup(invalidValue()), [NaN, 1, NaN])).toBe(3);
    // Training losses are counted and skipped like the others.
    expect(stoppingTime(warmup(numberLimit(1), 2), [1, 1, 1, 1], [true, false, false, false])).toBe(2);
    expect(stoppingTime(warmup(invalidValue(), 1), [NaN, 1, NaN, 1], [true, false, true, false])).toBe(1);
    expect(messageAfter(warmup(patience(2), 2), LOSSES.slice(0, 5))).toBe(
      messageAfter(patience(2), LOSSES.slice(0, 5)),
    );
  });

  test("or: whichever is first, and the message of those that are done", () => {
    const both = or(patience(3), invalidValue());
    expect(stoppingTime(both, [12, 10, 11, 12, 13, NaN])).toBe(5);
    expect(stoppingTime(both, [NaN, 12, 10, 11, 12, 13])).toBe(1);
    expect(messageAfter(both, [12, 10, 11])).toBe("");
    expect(messageAfter(both, [12, NaN])).toBe("Stopping early as `NaN`, `Inf` or `-Inf` encountered. ");
    expect(messageAfter(or(patience(1), numberLimit(9), numberSinceBest(1)), [1, 2])).toBe(
      "Stop triggered by Patience(1) stopping criterion. Stop triggered by NumberSinceBest(1) stopping criterion. ",
    );
    expect(
      stoppingTime(or(pq({ alpha: 2, k: 2 }), never()), [2, 1, 1, 2, 1, 9], [true, true, false, true, true, false]),
    ).toBe(stoppingTime(pq({ alpha: 2, k: 2 }), [2, 1, 1, 2, 1, 9], [true, true, false, true, true, false]));
  });

  test("or takes those apart that are such themselves, and leaves out what is there already", () => {
    const one = or(patience(1), or(invalidValue(), timeLimit({ hours: 2 })), patience(1), timeLimit({ hours: 2 }));
    expect(one.name).toBe("Disjunction(Patience(1), InvalidValue(), TimeLimit(2 hours))");
    expect(or(patience(1), patience(2)).name).toBe("Disjunction(Patience(1), Patience(2))");
    expect(disjunction).toBe(or);
  });

  test("one of one's own", () => {
    const twice = criterion<number>({
      name: "TwiceBelow(3)",
      update: (loss, times = 0) => (loss < 3 ? times + 1 : 0),
      done: (times) => times === 2,
    });
    expect(stoppingTime(or(twice, patience(9)), [2, 4, 2, 1])).toBe(4);
    expect(messageAfter(twice, [1, 1])).toBe("Stop triggered by TwiceBelow(3) stopping criterion. ");
  });
});

test("a criterion remembers nothing itself: it serves several", () => {
  const one = patience(2);
  expect([stoppingTime(one, LOSSES), stoppingTime(one, LOSSES)]).toEqual([4, 4]);
});

test("messages name the criterion with its parameters", () => {
  const message = (one: StoppingCriterion): string => messageAfter(one, [1, 2]);
  expect([patience(1), gl(2), pq(), threshold(), numberLimit(7), numberSinceBest()].map(message)).toEqual(
    [
      "Patience(1)",
      "GL(2.0)",
      "PQ(0.75, 5, 2.220446049250313e-16)",
      "Threshold(0.0)",
      "NumberLimit(7)",
      "NumberSinceBest(6)",
    ].map((name) => `Stop triggered by ${name} stopping criterion. `),
  );
});

test("losses below 0: GL and PQ are those of their formulas, as they are not in EarlyStopping.jl", () => {
  // 100 (-1.5 + 2) / 2 = 25.
  expect([24.9, 25.1].map((alpha) => stoppingTime(gl(alpha), [-2, -1.5]))).toEqual([2, 0]);
  expect(stoppingTime(gl(1), [-1, -2, -2])).toBe(0);
  // P = 1000 (-2.5 + 3) / 3 = 166.7, GL = 25, PQ = 0.15.
  const [losses, isTraining] = [
    [-2, -2, -3, -1.5],
    [false, true, true, false],
  ];
  expect([0.14, 0.16].map((alpha) => stoppingTime(pq({ alpha, k: 2 }), losses, isTraining))).toEqual([2, 0]);
});

test.each<[string, () => unknown, RegExp]>([
  ["n of 0", () => patience(0), /^patience: n is 0; it must be a whole number from 1$/],
  ["a fraction", () => numberSinceBest(1.5), /^numberSinceBest: n is 1\.5; it must be a whole number from 1$/],
  ["n of 0", () => numberLimit(0), /^numberLimit: n is 0;/],
  ["a string", () => patience(unchecked("5")), /^patience: n is '5';/],
  ["alpha of 0", () => gl(0), /^gl: alpha is 0; it must be a number above 0$/],
  ["NaN", () => gl(NaN), /^gl: alpha is NaN;/],
  ["alpha of 0", () => pq({ alpha: 0 }), /^pq: alpha is 0;/],
  ["k of 1", () => pq({ k: 1 }), /^pq: k is 1; it must be a whole number from 2$/],
  ["k of 1.2", () => pq({ k: 1.2 }), /^pq: k is 1\.2;/],
  ["tol of 0", () => pq({ tol: 0 }), /^pq: tol is 0;/],
  ["an unknown option", () => pq(unchecked({ n: 1 })), /^pq has no option "n"; it has alpha, k, tol$/],
  ["no time", () => timeLimit({ hours: 0 }), /^timeLimit: hours is 0; it must be a number above 0$/],
  [
    "two times",
    () => timeLimit(unchecked({ hours: 1, minutes: 1 })),
    /^timeLimit takes exactly one of hours, minutes and seconds$/,
  ],
  ["a number for options", () => timeLimit(unchecked(3)), /^timeLimit takes an object of options, not 3$/],
  ["a threshold of NaN", () => threshold(NaN), /^threshold: value is NaN; it must be a number$/],
  ["no warm-up", () => warmup(patience(), 0), /^warmup: n is 0;/],
  [
    "a number to warm up",
    () => warmup(unchecked(5)),
    /^warmup: 5 is not a stopping criterion; make one with stopping\.patience\(5\) and the like$/,
  ],
  [
    "a function for a criterion",
    () => or(unchecked(patience)),
    /^or: \[Function: patience\] is not a stopping criterion;/,
  ],
  ["none", () => or(), /^or takes criteria/],
  ["one's own without a name", () => criterion(unchecked({})), /^a stopping criterion needs a name$/],
  [
    "one's own without done",
    () => criterion(unchecked({ name: "X", update: () => 1 })),
    /^stopping criterion X: update and done must be functions$/,
  ],
])("MISUSE: %s", async (_, make, message) => {
  const error = await caught(make);
  expect([error.code, error.message]).toEqual(["MISUSE", expect.stringMatching(message)]);
});
