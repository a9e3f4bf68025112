/** The session, with memory instead of a link: what is said again after a cut, and what is heard once. */
import { describe, expect, test } from "vitest";
import { inner } from "../../../bridge/reference/ref.ts";
import { Session } from "../../../bridge/session/session.ts";
import { FetchMode } from "../../../bridge/wire/codes.ts";
import { MessageType } from "../../../bridge/wire/header.ts";
import { defaultLimits } from "../../../bridge/wire/limits.ts";
import { encodeMessage, type Incoming, type Outgoing } from "../../../bridge/wire/meta.ts";
import { inMemory } from "../in-memory.ts";

class World {
  readonly #link = inMemory();
  welcomes = 0;
  readonly session: Session = new Session(this.#link.near, {
    onWelcome: () => this.welcomes++,
    onClosed: () => undefined,
  });
  #next = 0;

  /** What has left since this was last asked. */
  sent(): Incoming[] {
    return this.#link.far.heard();
  }

  /** The numbers of what has left. */
  numbers(): number[] {
    return this.sent().map(({ header }) => header.seq);
  }

  /** Sends so many batches. */
  batches(count: number): void {
    for (let i = 0; i < count; i++) {
      void this.session.log.import(`module_${this.#next++}`);
      this.session.log.outbox.flush();
    }
  }

  hears(message: Outgoing): void {
    this.session.receive(encodeMessage(message, defaultLimits));
  }

  /** The worker answers these. */
  answered(...numbers: number[]): void {
    this.hears({ type: MessageType.reply, meta: { replies: numbers.map((seq) => [seq, [], null]) } });
  }

  welcomed(received: number): void {
    const about = { pid: 1, device: "cpu", versions: {}, limits: {}, grace: null };
    this.hears({ type: MessageType.welcome, meta: { ...about, received } });
  }
}

describe("after a cut", () => {
  test("nothing leaves until the worker has said what it has, and then what it lacks, in order, and what came meanwhile", () => {
    const world = new World();
    world.batches(4);
    expect(world.numbers()).toEqual([1, 2, 3, 4]);
    world.answered(1);
    world.session.suspend();
    world.batches(1);
    expect(world.numbers()).toEqual([]);
    world.welcomed(3);
    expect(world.numbers()).toEqual([4, 5]);
    expect(world.welcomes).toBe(1);
    world.batches(1);
    expect(world.numbers()).toEqual([6]);
    // Cut again: the same once more.
    world.session.suspend();
    world.welcomed(0);
    expect(world.numbers()).toEqual([2, 3, 4, 5, 6]);
  });

  test("what is said again is what was said, byte for byte", () => {
    const world = new World();
    world.batches(2);
    const before = world.sent();
    world.answered(1);
    world.session.suspend();
    world.welcomed(1);
    expect(world.sent()).toEqual(before.slice(1));
  });

  test("a farewell is said again where the worker has not heard it", () => {
    const world = new World();
    world.batches(1);
    world.session.sendClose();
    expect(world.numbers()).toEqual([1, 2]);
    world.session.suspend();
    world.welcomed(2);
    expect(world.numbers()).toEqual([]);
    world.session.suspend();
    world.welcomed(1);
    expect(world.sent().map(({ header }) => [header.type, header.seq])).toEqual([[MessageType.close, 2]]);
    world.session.suspend();
    world.welcomed(0);
    expect(world.numbers()).toEqual([1, 2]);
  });

  test("an answer that comes twice is heard once", () => {
    const world = new World();
    world.batches(2);
    world.answered(1);
    world.answered(1, 2);
    world.answered(2);
    expect(world.session.counts).toMatchObject({ batches: 2, inFlight: 0 });
    expect(() => world.answered(3)).toThrow("the worker answered batch 3, which is not in flight");
  });
});

describe("a batch that cannot be encoded", () => {
  const low = { ...defaultLimits, metaBytes: 10 };

  test("rejects what was asked for in it, leaves no gap in the numbers, and no other lane hears of it", async () => {
    const world = new World();
    const { log } = world.session;
    log.import("before");
    log.outbox.flush();
    world.session.limits = low;
    const builtins = log.wellKnown("builtins");
    const failed = log.fetch(builtins, FetchMode.js);
    // The first operation of another lane is what sends it.
    const other = log.ambient.lane(
      () => {
        log.import("other");
        world.session.limits = defaultLimits;
        return "done";
      },
      () => Promise.resolve(),
    );
    await expect(failed).rejects.toMatchObject({ code: "LIMIT", cause: { code: "LIMIT" } });
    await expect(failed).rejects.toThrow("session.test.ts");
    await expect(other).resolves.toBe("done");
    // User code has the error: lane 0 is open again.
    await Promise.resolve();
    log.import("after");
    log.outbox.flush();
    const sent = world.sent();
    expect(sent.map(({ header }) => header.seq)).toEqual(sent.map((_, i) => i + 1));
    expect(sent.at(-1)!.meta).toMatchObject({ generation: 1, operations: [[0, "after"]] });
  });

  test("what it was to free is freed by the next one", async () => {
    const world = new World();
    const { log } = world.session;
    const made = log.import("made");
    log.outbox.flush();
    world.sent();
    world.session.limits = low;
    log.release(inner(made)!);
    log.outbox.flush();
    expect(world.sent()).toEqual([]);
    world.session.limits = defaultLimits;
    await expect(log.fetch(log.wellKnown("builtins"), FetchMode.js)).rejects.toMatchObject({ code: "NOT_RUN" });
    log.import("after");
    log.outbox.flush();
    expect(world.sent().map(({ meta }) => meta["finalised"])).toEqual([[16, 16]]);
  });

  test("a scope that frees very much says it in several", () => {
    const world = new World();
    const { log } = world.session;
    world.session.limits = log.outbox.limits = { ...defaultLimits, metaBytes: 2 ** 16 };
    log.ambient.scope(
      () => {
        for (let i = 0; i < 6000; i++) {
          const one = log.import("m");
          if (i % 2 === 0) log.keep(inner(one)!);
        }
      },
      () => undefined,
    );
    const released = world
      .sent()
      .flatMap(({ meta }) => (meta["operations"] as [number, number[]][]).filter(([code]) => code === 9))
      .map(([, ranges]) => ranges.length);
    expect(released.length).toBeGreaterThan(1);
    expect(released.reduce((sum, n) => sum + n / 2, 0)).toBe(3000);
  });
});

describe("the worker is told what was heard", () => {
  test("with all that is sent next", () => {
    const world = new World();
    world.batches(3);
    world.answered(1, 2);
    world.batches(1);
    world.session.sendClose();
    expect(world.sent().map(({ header }) => header.ack)).toEqual([0, 0, 0, 2, 2]);
    expect(world.session.answeredSeq).toBe(2);
  });

  test("at once where that was large, so that it need not keep it", () => {
    const world = new World();
    world.batches(2);
    world.sent();
    const reply = (seq: number, bytes: number): void =>
      world.hears({
        type: MessageType.reply,
        meta: { replies: [[seq, [], null]] },
        frames: [new Uint8Array(bytes)],
      });
    reply(1, 2 ** 20 - 1);
    expect(world.sent()).toEqual([]);
    reply(2, 2 ** 20);
    expect(world.sent().map(({ header }) => [header.type, header.ack])).toEqual([[MessageType.ack, 2]]);
  });
});
