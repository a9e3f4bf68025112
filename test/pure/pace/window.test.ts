/** How many steps are in flight, by the time that they take. */
import { describe, expect, test } from "vitest";
import { Window } from "../../../bridge/pace/window.ts";

/** Plays a loop whose steps take `stepMs` each in a worker that is always busy. Returns the window after `bursts`. */
function played(stepMs: number, bursts = 20, window = new Window()): Window {
  let now = 0;
  window.goesOn(now);
  for (let i = 0; i < bursts; i++) {
    const answered = window.most - window.enough;
    for (let j = 0; j < answered; j++) window.answered();
    now += answered * stepMs;
    window.goesOn(now);
  }
  return window;
}

describe("a window by time", () => {
  test.each([
    // One that is run, and 25 ms of work behind it.
    [0.1, 32],
    [1, 26],
    [2.5, 11],
    [5, 6],
    [10, 4],
    [12.5, 3],
    [30, 3],
    [1000, 3],
  ])("steps of %d ms have %i in flight", (stepMs, most) => {
    expect(played(stepMs).most).toBe(most);
  });

  test("it waits until half are answered; with three, until one is", () => {
    const { most, enough } = played(2.5);
    expect([most, enough]).toEqual([11, 5]);
    expect(new Window().enough).toBe(2);
  });

  test("it begins with three, and at most doubles", () => {
    const window = new Window();
    const seen = [window.most];
    for (let i = 0; i < 5; i++) seen.push(played(0.001, 1, window).most);
    expect(seen).toEqual([3, 6, 12, 24, 32, 32]);
  });

  test("a long way to the worker and back is filled too", () => {
    const window = new Window();
    window.hears(60);
    window.hears(30);
    window.hears(45);
    // (25 + 2 · 30) / 10 behind the one that is run.
    expect(played(10, 40, window).most).toBe(10);
  });

  test("a rest counts for nobody, and one slow burst among quick ones for little", () => {
    const window = played(2.5);
    window.rests();
    window.goesOn(1e6);
    expect(window.most).toBe(11);
    window.answered();
    window.goesOn(1e6 + 5);
    expect(window.most).toBeGreaterThan(8);
  });
});

test("a window that is given stays, and lets one more go for each answer", () => {
  for (const given of [1, 3, 50]) {
    const window = played(0.1, 20, new Window(given));
    expect([window.most, window.enough]).toEqual([given, given - 1]);
  }
});

test.each([0, -1, 1.5, Number.NaN, Infinity])("%d is no window", (given) => {
  expect(() => new Window(given)).toThrow(`window must be a whole number from 1, not ${given}`);
});
