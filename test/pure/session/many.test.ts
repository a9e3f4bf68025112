/** Thousands of things in flight, with memory instead of a link: an answer looks at no more of them than it is about. */
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { Queue } from "../../../bridge/runtime/queue.ts";
import { Session } from "../../../bridge/session/session.ts";
import { trafficOf } from "../../../bridge/tape/traffic.ts";
import { Op } from "../../../bridge/wire/codes.ts";
import { MessageType } from "../../../bridge/wire/header.ts";
import { defaultLimits } from "../../../bridge/wire/limits.ts";
import { encodeMessage } from "../../../bridge/wire/meta.ts";
import { inMemory } from "../in-memory.ts";

const sessionInMemory = (): Session =>
  new Session(inMemory().near, { onWelcome: () => undefined, onClosed: () => undefined });

const answer = (session: Session, seq: number): void =>
  session.receive(encodeMessage({ type: MessageType.reply, meta: { replies: [[seq, [], null]] } }, defaultLimits));

/** How many entries of Maps and Sets are looked at meanwhile, one after the other. */
function looksOf(work: () => void): number {
  let looks = 0;
  const prototypes = [new Map().values(), new Set().values()].map(
    (iterator) => Object.getPrototypeOf(iterator) as { next: () => unknown },
  );
  const before = prototypes.map(({ next }) => next);
  for (const [i, prototype] of prototypes.entries())
    prototype.next = function (this: unknown) {
      looks++;
      return before[i]!.call(this);
    };
  try {
    work();
  } finally {
    for (const [i, prototype] of prototypes.entries()) prototype.next = before[i]!;
  }
  return looks;
}

describe("of many in flight", () => {
  const MANY = 500;

  test("an answer looks only at those that wait for its own lane", async () => {
    const session = sessionInMemory();
    const lanes = Array.from({ length: MANY }, () =>
      session.log.ambient.lane(
        () => void session.log.import("module"),
        (generation) => session.answered(generation),
      ),
    );
    let ended = 0;
    for (const lane of lanes) void lane.then(() => ended++);
    await turn();
    expect(session.counts.inFlight).toBe(MANY);
    const looks = looksOf(() => {
      for (let seq = 1; seq < MANY; seq++) answer(session, seq);
    });
    expect(looks).toBeLessThan(20 * MANY);
    await turn();
    expect(ended).toBe(MANY - 1);
    answer(session, MANY);
    await Promise.all(lanes);
  });

  test("those that wait for credit go on together, once half of it is back", async () => {
    const session = sessionInMemory();
    const BATCHES = 100;
    for (let i = 0; i < BATCHES * 256; i++) session.log.import("module");
    session.log.outbox.flush();
    let went = 0;
    for (let i = 0; i < MANY; i++) void session.credit()!.then(() => went++);
    const looks = looksOf(() => {
      for (let seq = 1; seq <= 80; seq++) answer(session, seq);
    });
    expect(looks).toBeLessThan(20 * BATCHES);
    await turn();
    // 5120 operations are in flight, and 5000 are half of the credit.
    expect(went).toBe(0);
    answer(session, 81);
    await turn();
    expect(went).toBe(MANY);
    expect(session.credit()).toBeUndefined();
  });

  test("a call of Python's finds the batch that it comes from at once", () => {
    const session = sessionInMemory();
    const { log } = session;
    log.callPath(log.wellKnown("builtins"), ["list"], [[() => 1]]);
    for (let i = 0; i < MANY; i++) {
      log.import("module");
      log.outbox.flush();
    }
    const call = { type: MessageType.call, parentCall: 1, meta: { function: 1, args: [] } } as const;
    expect(looksOf(() => session.receive(encodeMessage(call, defaultLimits)))).toBeLessThan(50);
  });
});

test("a queue gives what an array gives", () => {
  const queue = new Queue<number>();
  const array: number[] = [];
  // A fixed sequence, which grows and shrinks.
  for (let i = 0, state = 1; i < 20_000; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const isRising = i % 2000 < 1000;
    const pushes = state % 10 < (isRising ? 7 : 3);
    const does = (one: { push(item: number): unknown; shift(): unknown }): unknown =>
      pushes ? void one.push(i) : one.shift();
    expect(does(queue)).toBe(does(array));
    expect([queue.length, queue.first]).toEqual([array.length, array[0]]);
  }
  queue.clear();
  expect([queue.length, queue.first, queue.shift()]).toEqual([0, undefined, undefined]);
});

describe("the references that a batch makes and frees", () => {
  test("are told apart, in ranges of any order", () => {
    const gets = Array.from({ length: 6 }, (): [number, number, string[]] => [Op.get, 1, ["a", "b"]]);
    // It makes 100 to 111, and frees 105, 101 to 103, 110 and 111 of them, and of others 50 to 60, 70, and 98 with 99.
    const releases = [
      [Op.release, [-6, -6, 50, 60]],
      [Op.release, [70, 70, -2, -4]],
      [Op.release, [-11, -12]],
      [Op.release, [98, 99]],
    ] as [number, number[]][];
    const { made, freed } = trafficOf(100, [...gets, ...releases], [7, 8]);
    expect(made).toEqual([100, 104, 106, 107, 108, 109]);
    expect(freed.slice(0, 2)).toEqual([7, 8]);
    const others: number[][] = [];
    for (let i = 2; i < freed.length; i += 2) others.push([freed[i]!, freed[i + 1]!]);
    expect(others.toSorted(([a], [b]) => a! - b!)).toEqual([
      [50, 60],
      [70, 70],
      [98, 99],
    ]);
  });

  test("may be one range of ids that begins before the batch and ends in it", () => {
    const { made, freed } = trafficOf(100, [
      [Op.import, "a"],
      [Op.import, "b"],
      [Op.release, [90, -1]],
    ]);
    expect([made, freed]).toEqual([[101], [90, 99]]);
  });
});
