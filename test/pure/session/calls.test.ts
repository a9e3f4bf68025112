/** Calls of functions, with memory instead of a link: what is answered, in which order, once, and what is forgotten. */
import { describe, expect, test } from "vitest";
import type { AnyFunction } from "../../../bridge/log/functions.ts";
import { Session } from "../../../bridge/session/session.ts";
import { MessageType } from "../../../bridge/wire/header.ts";
import { defaultLimits } from "../../../bridge/wire/limits.ts";
import { encodeMessage, type Incoming, type Outgoing } from "../../../bridge/wire/meta.ts";
import { inMemory } from "../in-memory.ts";

class World {
  readonly #link = inMemory();
  readonly session: Session = new Session(this.#link.near, {
    onWelcome: () => undefined,
    onClosed: () => undefined,
  });

  sent(): Incoming[] {
    return this.#link.far.heard();
  }

  /** Passes functions in one batch, which is number 1, and leaves with it. */
  passes(...functions: AnyFunction[]): void {
    const { log } = this.session;
    log.callPath(log.wellKnown("builtins"), ["list"], [functions]);
    log.outbox.flush();
  }

  batch(): void {
    this.session.log.import("module");
    this.session.log.outbox.flush();
  }

  hears(message: Outgoing): void {
    this.session.receive(encodeMessage(message, defaultLimits));
  }

  calls(id: number, meta: Record<string, unknown>): void {
    this.hears({ type: MessageType.call, parentCall: id, meta: { args: [], ...meta } });
  }

  answered(numbers: readonly number[], more: object = {}): void {
    this.hears({ type: MessageType.reply, meta: { replies: numbers.map((seq) => [seq, [], null]), ...more } });
  }

  welcomed(received: number): void {
    const about = { pid: 1, device: "cpu", versions: {}, limits: {}, grace: null };
    this.hears({ type: MessageType.welcome, meta: { ...about, received } });
  }
}

const numbersOf = (sent: readonly Incoming[]): [seq: number, call: number][] =>
  sent.map(({ header }) => [header.seq, header.parentCall]);

describe("a call", () => {
  test("is answered by one batch of its own log, which gives the arguments ids, ends the call, and frees them", () => {
    const world = new World();
    const seen: unknown[] = [];
    world.passes(function double(x: unknown, reference: unknown) {
      seen.push(x);
      return [reference, 2];
    });
    expect(world.sent()[0]!.meta).toMatchObject({ functions: [[1, 1, "double"]] });
    world.calls(1, { function: 1, args: [5, [0, "Tensor"]], holds: true });
    const [answer, ...more] = world.sent();
    expect(more).toEqual([]);
    expect(answer!.header).toMatchObject({ seq: 2, parentCall: 1 });
    expect(answer!.meta["operations"]).toEqual([
      [10, 1],
      [11, [1, [0, -1], 2]],
      [9, [-1, -1]],
    ]);
    expect(seen).toEqual([5]);
    expect(world.session.counts).toMatchObject({ calls: 1, roundTrips: 1, batches: 2 });
  });

  test("that comes twice, after a cut, is answered once", () => {
    const world = new World();
    let count = 0;
    world.passes(() => ++count);
    world.calls(1, { function: 1 });
    world.calls(1, { function: 1 });
    world.calls(2, { function: 1 });
    expect(numbersOf(world.sent())).toEqual([
      [1, 0],
      [2, 1],
      [3, 2],
    ]);
    expect(count).toBe(2);
  });

  test("is answered by an error where its function throws, and where the function is not known", () => {
    const world = new World();
    world.passes(() => {
      throw new TypeError("größer \ud800");
    });
    world.calls(1, { function: 1 });
    world.calls(2, { function: 9 });
    const [, thrown, unknown] = world.sent();
    const [[code, number, message, stack]] = thrown!.meta["operations"] as [[number, number, string, string]];
    expect([code, number, message]).toEqual([12, 1, "TypeError: größer \ufffd"]);
    expect(stack).toContain("calls.test.ts");
    expect((unknown!.meta["operations"] as unknown[][])[0]!.slice(0, 2)).toEqual([12, 2]);
  });

  test("of an async function is answered when that ends, in a message that leaves at once", async () => {
    const world = new World();
    world.passes(async () => {
      await Promise.resolve();
      return "late";
    });
    world.calls(1, { function: 1 });
    expect(world.sent()).toHaveLength(1);
    await new Promise(setImmediate);
    expect(world.sent()[0]!.meta["operations"]).toEqual([[11, "late"]]);
  });

  test("is answered by an error where its answer is too much for a message", () => {
    const world = new World();
    world.session.log.outbox.limits = world.session.limits = { ...defaultLimits, metaBytes: 2 ** 12 };
    world.passes(() => Array.from({ length: 100 }, () => "x".repeat(100)));
    world.calls(1, { function: 1 });
    const sent = world.sent();
    expect(numbersOf(sent)).toEqual([
      [1, 0],
      [2, 1],
    ]);
    expect((sent[1]!.meta["operations"] as unknown[][])[0]![0]).toBe(12);
  });
});

describe("answers", () => {
  test("of a call come before that of the batch which waits for it, and the last one that came is confirmed", () => {
    const world = new World();
    world.passes(() => 1);
    world.batch();
    world.calls(1, { function: 1 });
    world.sent();
    world.answered([3]);
    expect(world.session.answeredSeq).toBe(3);
    world.answered([1, 2]);
    // Again, after a cut.
    world.answered([3, 1, 2]);
    expect(world.session.counts.inFlight).toBe(0);
    world.batch();
    expect(world.sent()[0]!.header).toMatchObject({ seq: 4, ack: 2 });
  });

  test("out of turn are refused, in each log", () => {
    const world = new World();
    world.passes(() => 1);
    world.batch();
    expect(() => world.answered([2])).toThrow("batch 2 was answered before batch 1");
    world.calls(1, { function: 1 });
    world.calls(2, { function: 1 });
    world.answered([4]);
    expect(() => world.answered([5])).toThrow("the worker answered batch 5, which is not in flight");
    world.answered([3, 1, 2]);
  });
});

describe("a function", () => {
  test("is forgotten when Python has freed it, and passed again under another id and the same number", () => {
    const world = new World();
    const one = (): number => 1;
    const two = (): number => 2;
    world.passes(one, two, one);
    world.passes(one);
    expect(world.sent().map(({ meta }) => meta["functions"])).toEqual([
      [
        [1, 1, "one"],
        [2, 2, "two"],
      ],
      [[3, 1, "one"]],
    ]);
    const { functions } = world.session.log.outbox;
    expect(functions.size).toBe(3);
    world.answered([1, 2], { freed: [1, 3] });
    expect(functions.size).toBe(1);
    world.session.end(new Error("over"));
    expect(functions.size).toBe(0);
  });

  test("whose operation cannot be sent is forgotten", () => {
    const world = new World();
    expect(() => world.passes((): number => 1, new Date() as never)).toThrow("Date");
    expect(world.session.log.outbox.functions.size).toBe(0);
  });
});

describe("after the order to end", () => {
  test("calls are answered, and nothing else leaves; after a cut all is said again in its order", () => {
    const world = new World();
    world.passes(() => 1);
    world.session.sendClose();
    world.batch();
    world.calls(1, { function: 1 });
    expect(numbersOf(world.sent())).toEqual([
      [1, 0],
      [2, 0],
      [3, 1],
    ]);
    world.session.suspend();
    world.welcomed(0);
    expect(numbersOf(world.sent())).toEqual([
      [1, 0],
      [2, 0],
      [3, 1],
    ]);
    world.session.suspend();
    world.welcomed(2);
    expect(numbersOf(world.sent())).toEqual([[3, 1]]);
    world.answered([3, 1]);
    expect(world.session.unanswered).toBe(0);
  });
});
