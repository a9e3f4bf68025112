/** How a worker's life ends, over a link in memory: each way, and what its promises settle with. */
import { pino } from "pino";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { LinkChange } from "../../../bridge/link/transport.ts";
import type { OwnProcess } from "../../../bridge/session/life.ts";
import { attach } from "../../../bridge/start/attach.ts";
import type { Owned } from "../../../bridge/start/keyed.ts";
import { MessageType } from "../../../bridge/wire/header.ts";
import { defaultLimits } from "../../../bridge/wire/limits.ts";
import { inMemory, type Far } from "../in-memory.ts";

class Exit extends Error {
  readonly exitCode: number;

  constructor(code: number) {
    super(`ended with code ${code}`);
    this.exitCode = code;
  }
}

interface World {
  readonly owned: Owned;
  readonly far: Far;
  /** How often the process was killed. */
  readonly kills: () => number;
  readonly exits: (code: number) => void;
  readonly changes: LinkChange[];
}

const WELCOME = { pid: 1, device: "cpu", versions: {}, limits: {}, grace: null, received: 0 };

const welcomes = (far: Far): void => {
  far.says({ type: MessageType.welcome, meta: WELCOME });
  far.saysByControl({ type: MessageType.welcome, meta: {} });
};
const saysFarewell = (far: Far): void => far.says({ type: MessageType.closed, meta: {} });
const saysLastWord = (far: Far): void => far.saysByControl({ type: MessageType.closed, meta: {} });
const answers = (far: Far, seq: number, id: number): void =>
  far.says({ type: MessageType.reply, meta: { replies: [[seq, [id, 3], null]] } });

/** A worker of `kind` that has welcomed us. */
async function worker(kind: "own" | "remote", greets: (far: Far) => void = welcomes): Promise<World> {
  const { near, far } = inMemory();
  let kills = 0;
  let exits!: (code: number) => void;
  const exited = new Promise<Exit>((resolve) => {
    exits = (code) => resolve(new Exit(code));
  });
  const own: OwnProcess = { exited, kill: () => void kills++ };
  const attached = attach(
    {
      endpoints: { data: "", control: "" },
      token: "t",
      limits: defaultLimits,
      logger: pino({ level: "silent" }),
      version: "0",
      over: kind === "own" ? "machine" : "network",
      ...(kind === "own" ? { process: own } : {}),
    },
    near,
  );
  greets(far);
  const owned = await attached;
  far.heard();
  const changes: LinkChange[] = [];
  owned.worker.onLink((change) => changes.push(change));
  return { owned, far, kills: () => kills, exits, changes };
}

/** Asks for a value, in a batch that leaves now: positions 16 to 19. Gives how it settled, when that is known. */
async function asks({ owned }: World): Promise<{ settled: () => unknown }> {
  let settled: unknown = "pending";
  const value = owned.worker.import("builtins").abs(-3) as PromiseLike<unknown>;
  value.then(
    (given) => (settled = given),
    (error: unknown) => (settled = error),
  );
  await turn();
  return { settled: () => settled };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function isPending(promise: Promise<unknown>): Promise<boolean> {
  promise.catch(() => undefined);
  await turn();
  const pending = Symbol("pending");
  return (await Promise.race([promise, Promise.resolve(pending)])) === pending;
}

afterEach(() => void vi.restoreAllMocks());

describe("a worker that is closed", () => {
  test("runs what was queued, says farewell, and its last word is waited for", async () => {
    const world = await worker("remote");
    const asked = await asks(world);
    const closed = world.owned.worker.close();
    expect(world.owned.over).toBe(true);
    expect(world.far.heard().map(({ header }) => header.type)).toEqual([MessageType.batch, MessageType.close]);
    answers(world.far, 1, 19);
    saysFarewell(world.far);
    expect(await isPending(closed)).toBe(true);
    saysLastWord(world.far);
    await closed;
    expect(asked.settled()).toBe(3);
    await expect(async () => await world.owned.worker.import("builtins")).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("is gone where its link is cut after its farewell, and comes back where it is cut before", async () => {
    const world = await worker("remote");
    const closed = world.owned.worker.close();
    world.far.cut();
    expect(await isPending(closed)).toBe(true);
    world.far.connects(2);
    welcomes(world.far);
    saysFarewell(world.far);
    expect(await isPending(closed)).toBe(true);
    world.far.cut();
    await closed;
    // What was bound to come is no news.
    expect(world.changes).toEqual([]);
  });

  test("of this program's own is closed when its process has ended", async () => {
    const world = await worker("own");
    const closed = world.owned.worker.close();
    saysFarewell(world.far);
    saysLastWord(world.far);
    expect(await isPending(closed)).toBe(true);
    world.exits(0);
    await closed;
  });

  test("has its last words heard where its process ends before them", async () => {
    const world = await worker("own");
    const asked = await asks(world);
    const closed = world.owned.worker.close();
    world.exits(0);
    await turn();
    answers(world.far, 1, 19);
    saysFarewell(world.far);
    saysLastWord(world.far);
    await closed;
    expect(asked.settled()).toBe(3);
  });

  test("rejects with how its process has ended, where it has not answered everything", async () => {
    const world = await worker("own");
    const asked = await asks(world);
    const closed = world.owned.worker.close();
    world.exits(7);
    await expect(closed).rejects.toThrow("ended with code 7");
    expect(asked.settled()).toBeInstanceOf(Exit);
  });

  test("rejects with why its link was given up, where it has not answered everything", async () => {
    const world = await worker("remote");
    await asks(world);
    const closed = world.owned.worker.close();
    world.far.gone(new Error("no link"));
    await expect(closed).rejects.toThrow("no link");
  });

  test("is closed where its link is given up after everything was answered", async () => {
    const world = await worker("remote");
    const closed = world.owned.worker.close();
    world.far.gone(new Error("no link"));
    await expect(closed).resolves.toBeUndefined();
  });

  test("rejects with CLOSED where a value is asked for too late", async () => {
    const world = await worker("remote");
    const closed = world.owned.worker.close();
    const asked = await asks(world);
    saysFarewell(world.far);
    saysLastWord(world.far);
    await expect(closed).rejects.toMatchObject({ code: "CLOSED" });
    expect(asked.settled()).toMatchObject({ code: "CLOSED" });
  });

  test("is closed where an operation comes too late of which nobody awaits a value", async () => {
    const world = await worker("remote");
    const closed = world.owned.worker.close();
    world.owned.worker.import("late");
    await turn();
    saysFarewell(world.far);
    saysLastWord(world.far);
    await expect(closed).resolves.toBeUndefined();
  });

  test("whose Python did not end as it should is warned of, unless it was killed meanwhile", async () => {
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
    for (const kill of [false, true]) {
      const world = await worker("own");
      const closed = world.owned.worker.close();
      saysFarewell(world.far);
      saysLastWord(world.far);
      await turn();
      const killed = kill ? world.owned.worker.kill() : undefined;
      world.exits(1);
      await Promise.all([closed, killed]);
      expect(warned).toHaveBeenCalledTimes(1);
    }
  });
});

describe("a worker that is killed", () => {
  test("of this program's own has its process killed, and what is pending rejects", async () => {
    const world = await worker("own");
    const asked = await asks(world);
    const killed = world.owned.worker.kill();
    expect(world.kills()).toBe(1);
    expect(await isPending(killed)).toBe(true);
    world.exits(-9);
    await killed;
    expect(asked.settled()).toMatchObject({ code: "CLOSED" });
  });

  test("elsewhere is told so, and its last word is waited for", async () => {
    const world = await worker("remote");
    const killed = world.owned.worker.kill();
    expect(world.far.control).toHaveLength(1);
    expect(await isPending(killed)).toBe(true);
    saysLastWord(world.far);
    await killed;
  });

  test("while it is being closed ends both, and nothing counts as lost", async () => {
    const world = await worker("own");
    await asks(world);
    const closed = world.owned.worker.close();
    const killed = world.owned.worker.kill();
    world.exits(-9);
    await Promise.all([closed, killed]);
    expect(world.owned.worker.close()).toBe(killed);
  });

  test("rejects what is pending with the reason that its owner gives", async () => {
    const world = await worker("own");
    const asked = await asks(world);
    void world.owned.end("another copy has taken it");
    await turn();
    expect(asked.settled()).toMatchObject({ code: "CLOSED", message: "another copy has taken it" });
  });
});

describe("a worker that is lost", () => {
  test("rejects what is pending and all that comes later, and closing it is nothing", async () => {
    for (const kind of ["own", "remote"] as const) {
      const world = await worker(kind);
      const asked = await asks(world);
      expect(world.owned.over).toBe(false);
      if (kind === "own") world.exits(3);
      else world.far.gone(new Error("ended with code 3"));
      await world.owned.gone;
      await turn();
      expect(asked.settled()).toMatchObject({ message: "ended with code 3" });
      expect(() => world.owned.worker.import("builtins")).toThrow("ended with code 3");
      expect(world.owned.over).toBe(true);
      await world.owned.worker.close();
    }
  });

  test("has its process killed where its link is given up", async () => {
    const world = await worker("own");
    world.far.gone(new Error("nonsense"));
    expect(world.kills()).toBe(1);
  });

  test("before it has welcomed us is no worker", async () => {
    await expect(worker("remote", (far) => far.gone(new Error("nobody")))).rejects.toThrow("nobody");
  });

  test("by a cut is not lost: the program is told, and what it asks for comes later", async () => {
    const world = await worker("remote");
    world.far.cut();
    expect(world.changes).toEqual([{ state: "connecting", reason: "cut" }]);
    expect(world.owned.over).toBe(false);
  });
});
