/**
 * The two ports of a worker that serves, where they are not neighbours: tunnels, mapped ports and Kubernetes's NodePorts
 * give each a host and a number of its own.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectWorker, spawnWorker, type ConnectOptions, type TorchwireError, type Worker } from "torchwire";
import { readProfile, writeProfile } from "../../bridge/keys/profile.ts";
import { FaultProxy } from "../fixtures/faults/proxy.ts";
import { poll } from "../fixtures/life/world.ts";
import { freePorts, Keys, serve, type Served } from "../fixtures/served.ts";
import { caught } from "../observed.ts";
import { describeOnLinux } from "../only.ts";

const SECOND = 1000;
const settings: ConnectOptions = { device: "cpu", seed: 0, threads: 1, timeout: 60 * SECOND };

async function answers(worker: Worker): Promise<void> {
  expect(await worker.tensor([1, 2, 3]).sum().item()).toBe(6);
  expect((await worker.stats()).worker.batches).toBe(1);
  const states = async (): Promise<string> => (await worker.liveness()).state;
  expect(await poll(5 * SECOND, states, (state) => state === "idle")).toBe("idle");
}

async function withEnvironment<T>(variables: Record<string, string>, run: () => Promise<T>): Promise<T> {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    return await run();
  } finally {
    for (const [name, value] of before)
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
  }
}

describeOnLinux("a worker whose ports are apart", () => {
  let served: Served;
  let proxy: FaultProxy;
  beforeAll(async () => {
    served = await serve({ workers: 2, args: ["--grace", "20"] });
    proxy = await FaultProxy.openApart(served.port);
  });
  afterAll(async () => {
    await proxy?.[Symbol.asyncDispose]();
    await served?.[Symbol.asyncDispose]();
  });

  test("is reached by both addresses, each of which carries its half", async () => {
    await using worker = await connectWorker(proxy.address, { ...settings, control: proxy.control });
    await answers(worker);
    for (const link of ["data", "control"] as const) expect(proxy.passed(link, "down")).toBeGreaterThan(100);
  });

  test("is reached by TORCHWIRE_WORKER, with a comma between them, by both functions", async () => {
    await withEnvironment({ TORCHWIRE_WORKER: `${proxy.address},${proxy.control}` }, async () => {
      const { timeout: _, ...own } = settings;
      for (const connect of [() => connectWorker(undefined, settings), () => spawnWorker(own)]) {
        // (The next process takes the ports over.)
        await using worker = await poll(
          30 * SECOND,
          () => connect().catch(() => undefined),
          (found) => found !== undefined,
        );
        await answers(worker!);
        expect(worker!.link).toBe("up");
      }
    });
  });

  test("is reached again after a cut, where nothing is lost, and the warning names both", async () => {
    await using worker = await connectWorker(proxy.address, { ...settings, control: proxy.control });
    const list = worker.import("builtins").list([1]);
    await list;
    const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
    for (const line of proxy.linesOf("control")) line.rst();
    expect((await warned).message).toContain(
      `the link to the worker at ${proxy.address} (control: ${proxy.control}) is cut`,
    );
    list.append(2);
    expect(await worker.import("builtins").len(list)).toBe(2);
    // (The answer may come before the other half is greeted.)
    const link = await poll(
      5 * SECOND,
      () => worker.link,
      (state) => state === "up",
    );
    expect(link).toBe("up");
  });

  /** The error that a client gets. (The worker is another client's until that is known to be gone.) */
  const told = async (address: string, control: string, options: ConnectOptions = {}): Promise<TorchwireError> => {
    const ask = (): Promise<TorchwireError> =>
      caught(() => connectWorker(address, { ...settings, ...options, control }));
    return await poll(90 * SECOND, ask, ({ code }) => code !== "BUSY");
  };

  test("with the addresses the wrong way round is told so", async () => {
    const error = await told(proxy.control, proxy.address);
    expect(error).toMatchObject({ code: "PROTOCOL" });
    expect(error.message).toContain(
      `(data: ${proxy.control}, control: ${proxy.address}. Are these the two ports of one worker, and in this order?)`,
    );
  });

  test("with the addresses of two workers is told so, and neither is held up", async () => {
    const control = `tcp://127.0.0.1:${served.port + 3}`;
    const error = await told(served.address, control);
    expect(error).toMatchObject({ code: "PROTOCOL" });
    expect(error.message).toContain("the connections for data and for control lead to two workers");
    expect(error.message).toContain(`(data: ${served.address}, control: ${control}.`);
    for (const port of [served.port, served.port + 2]) {
      const again = (): Promise<Worker | undefined> =>
        connectWorker(`tcp://127.0.0.1:${port}`, settings).catch(() => undefined);
      await using worker = await poll(30 * SECOND, again, (found) => found !== undefined);
      await answers(worker!);
    }
  });

  test("where nobody listens at one of them is told which, and what the other is", async () => {
    const nobody = `tcp://127.0.0.1:${await freePorts(1)}`;
    const brief = { timeout: 2 * SECOND };
    expect(await told(proxy.address, nobody, brief)).toMatchObject({
      code: "UNREACHABLE",
      message: expect.stringContaining(`${nobody} (for control; data is ${proxy.address}): nobody listens there.`),
    });
    expect(await told(nobody, proxy.control, brief)).toMatchObject({
      code: "UNREACHABLE",
      message: expect.stringContaining(`${nobody} (for data; control is ${proxy.control}): nobody listens there.`),
    });
  });

  test("behind tunnels that lead nowhere is told so", async () => {
    await using tunnels = await FaultProxy.openApart(await freePorts(2));
    const error = await told(tunnels.address, tunnels.control, { timeout: 2 * SECOND });
    expect(error).toMatchObject({ code: "UNREACHABLE" });
    expect(error.message).toContain(`${tunnels.address} (for data; control is ${tunnels.control}): `);
    expect(error.message).toContain("Does it lead to a worker that runs?");
  });
});

test.for<[string, string, unknown, RegExp]>([
  ["no address", "tcp://gpu-box:5555", "gpu-box:5556", /control is "gpu-box:5556", not an address as in/],
  ["a number", "tcp://gpu-box:5555", 5556, /control is 5556, not an address as in/],
  ["said twice", "tcp://a:1,tcp://b:2", "tcp://c:3", /the second address is said twice: in "tcp:\/\/a:1,tcp:\/\/b:2"/],
  [
    "the first again",
    "tcp://gpu-box:5555",
    "tcp://gpu-box:5555",
    /both addresses are tcp:\/\/gpu-box:5555: a worker has/,
  ],
  ["the first again, in one text", "tcp://a:1,tcp://a:1", undefined, /both addresses are tcp:\/\/a:1/],
  ["one of three", "tcp://a:1,tcp://b:2,tcp://c:3", undefined, /the address is "tcp:\/\/a:1,.*not one as in/],
  ["nothing", "tcp://a:1,", undefined, /the address is "tcp:\/\/a:1,", not one as in/],
  ["past the last", "tcp://a:65535", undefined, /the address is "tcp:\/\/a:65535", not one as in.*30556/],
])("a second address that is %s is refused", async ([, address, control, message]) => {
  const error = await caught(() =>
    connectWorker(address, { ...(control !== undefined && { control: control as never }) }),
  );
  expect(error).toMatchObject({ code: "MISUSE" });
  expect(error.message).toMatch(message);
});

describeOnLinux("a worker with keys whose ports are apart", () => {
  let keys: Keys;
  let served: Served;
  let proxy: FaultProxy;
  beforeAll(async () => {
    keys = new Keys("alice");
    served = await serve({ keys: keys.folder });
    proxy = await FaultProxy.openApart(served.port);
  });
  afterAll(async () => {
    await proxy?.[Symbol.asyncDispose]();
    await served?.[Symbol.asyncDispose]();
    keys?.[Symbol.dispose]();
  });

  const withKeys = <T>(run: () => Promise<T>): Promise<T> => withEnvironment({ TORCHWIRE_CONFIG: keys.config }, run);
  const connected = async (address: string | undefined, options: ConnectOptions): Promise<void> => {
    const again = (): Promise<Worker | undefined> =>
      connectWorker(address, { ...settings, ...options }).catch((error: unknown) => {
        if ((error as { code?: string }).code !== "UNREACHABLE") throw error;
        return undefined;
      });
    await using worker = await poll(30 * SECOND, again, (found) => found !== undefined);
    await answers(worker!);
  };

  test("is reached by both addresses", async () => {
    await withKeys(() => connected(proxy.address, { profile: "alice", control: proxy.control }));
    for (const link of ["data", "control"] as const) expect(proxy.passed(link, "down")).toBeGreaterThan(100);
  });

  test("is reached by a profile that has both, and by its first address alone", () =>
    withKeys(async () => {
      writeProfile({ ...readProfile("alice"), name: "mapped", address: proxy.address, control: proxy.control });
      expect(readProfile("mapped").control).toBe(proxy.control);
      await connected(undefined, { profile: "mapped" });
      await connected(proxy.address, { profile: "mapped" });
      // It is the second port of that address, and of no other.
      await connected(served.address, { profile: "mapped" });
    }));

  test("one of which is elsewhere is not spoken to without keys", async () => {
    for (const [address, control] of [
      [proxy.address, "tcp://10.0.0.1:5556"],
      ["tcp://10.0.0.1:5555", proxy.control],
      [`${proxy.address},tcp://10.0.0.1:5556`, undefined],
    ] as const)
      expect(await caught(() => connectWorker(address, { ...(control && { control }) }))).toMatchObject({
        code: "REFUSED",
        message: expect.stringContaining("there are no keys for 10.0.0.1"),
      });
  });

  test("refuses who has no key, and the error names both", async () => {
    const error = await caught(() => connectWorker(proxy.address, { ...settings, control: proxy.control }));
    expect(error).toMatchObject({ code: "REFUSED" });
    expect(error.message).toContain(`the worker at ${proxy.address} (control: ${proxy.control}) wants a key`);
  });
});
