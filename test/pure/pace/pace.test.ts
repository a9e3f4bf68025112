/** The steps in flight of a loop by hand. */
import { expect, test } from "vitest";
import { Pace } from "../../../bridge/pace/pace.ts";
import { Window } from "../../../bridge/pace/window.ts";
import { fastClock } from "../../fast-clock.ts";

/** Steps that are answered by hand. */
function steps() {
  const resolvers: (() => void)[] = [];
  const add = (pace: Pace): Promise<void> => pace.add(new Promise<void>((resolve) => resolvers.push(resolve)));
  const answer = (n: number): void => resolvers.splice(0, n).forEach((resolve) => resolve());
  return { add, answer };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Issues steps until it must wait. Returns how many, and the wait. */
async function burst(pace: Pace, add: (pace: Pace) => Promise<void>): Promise<[issued: number, wait: Promise<void>]> {
  for (let issued = 1; ; issued++) {
    const wait = add(pace);
    const isFree = await Promise.race([wait.then(() => true), turn().then(() => false)]);
    if (!isFree) return [issued, wait];
  }
}

test("a loop goes on for each answer with a window that is given", async () => {
  const pace = new Pace(new Window(3));
  const { add, answer } = steps();
  const [first, wait] = await burst(pace, add);
  expect([first, pace.inFlight]).toEqual([3, 3]);
  answer(1);
  await wait;
  expect(pace.inFlight).toBe(2);
  expect((await burst(pace, add))[0]).toBe(1);
});

test("a loop of short steps goes in bursts of half its window", async () => {
  fastClock();
  const pace = new Pace(new Window());
  const { add, answer } = steps();
  const bursts: [issued: number, inFlight: number][] = [];
  for (let i = 0; i < 7; i++) {
    const [issued, wait] = await burst(pace, add);
    bursts.push([issued, pace.inFlight]);
    const over = wait.then(() => true);
    do answer(1);
    while (!(await Promise.race([over, turn()])));
  }
  expect(bursts).toEqual([
    [3, 3],
    // Nothing is measured yet.
    [1, 3],
    [4, 6],
    [9, 12],
    [18, 24],
    [20, 32],
    [16, 32],
  ]);
});

test("a failed answer rejects once, where the loop waits for it; those behind it are not told", async () => {
  const pace = new Pace(new Window(2));
  await pace.add(Promise.resolve());
  await pace.add(Promise.reject(new Error("first")));
  await expect(pace.add(Promise.reject(new Error("second")))).rejects.toThrow("first");
  expect(pace.inFlight).toBe(0);
  await pace.end();
  void pace.add(Promise.reject(new Error("at the end")));
  await expect(pace.end()).rejects.toThrow("at the end");
});
