/** The doctor's findings on the way to a worker elsewhere. */
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { execa } from "execa";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { connectWorker } from "torchwire";
import type { Check } from "../../bridge/doctor/check.ts";
import { packageRoot, packageVersion } from "../../bridge/environment/package.ts";
import { fingerprint } from "../../bridge/keys/key.ts";
import { keygen } from "../../bridge/keys/keygen.ts";
import { profilePath, readProfile } from "../../bridge/keys/profile.ts";
import { built } from "../built.ts";
import { FaultProxy } from "../fixtures/faults/proxy.ts";
import { freePorts, Keys, serve, type Served } from "../fixtures/served.ts";
import { where } from "../only.ts";

where(process.platform !== "win32", "Windows has no file modes")("the doctor, of a worker elsewhere", () => {
  let keys: Keys;
  let served: Served;
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    keys = new Keys("gpu-box");
    served = await serve({ keys: keys.folder });
    // (Here too: a test connects by itself.)
    process.env["TORCHWIRE_CONFIG"] = keys.config;
    env = { ...process.env };
  });
  afterAll(async () => {
    await served?.[Symbol.asyncDispose]();
    keys?.[Symbol.dispose]();
    delete process.env["TORCHWIRE_CONFIG"];
  });

  beforeEach(() => setAddress("gpu-box", served.address));

  function setAddress(name: string, address: string, control?: string): void {
    const path = profilePath(name, env);
    writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, "utf8")) as object), address, control }));
  }

  /** Each check's finding by its name. */
  async function run(worker: string, set: NodeJS.ProcessEnv = {}): Promise<Record<string, Check>> {
    const { exitCode, stdout } = await execa(
      process.execPath,
      [built("bridge/cli.ts"), "doctor", "--json", "--worker", worker],
      { cwd: packageRoot(), env: { ...env, ...set }, reject: false },
    );
    const report = JSON.parse(stdout) as { checks: Check[] };
    expect(report).toEqual({ torchwire: packageVersion(), ok: exitCode === 0, checks: expect.any(Array) });
    expect(report.checks.map(({ name }) => name)).toEqual(
      "node zeromq msgpackr profile data-port control-port round-trip".split(" "),
    );
    for (const secret of Object.values(keys.secrets)) expect(stdout).not.toContain(secret);
    return Object.fromEntries(report.checks.map((check) => [check.name, check]));
  }

  const statuses = (checks: Record<string, Check>): string =>
    Object.values(checks)
      .slice(3)
      .map(({ status }) => status)
      .join(" ");

  test("finds that everything works, by its profile and by its address", async () => {
    const checks = await run("gpu-box");
    expect(statuses(checks)).toBe("ok ok ok ok");
    const { server, client } = readProfile("gpu-box", env);
    for (const key of [server, client]) expect(checks["profile"]!.detail).toContain(fingerprint(key.public));
    expect(checks["data-port"]!.detail).toBe(`${served.address} answers, and wants keys`);
    expect(checks["round-trip"]!.detail).toMatch(/^a worker on cpu lets us in and answers, in [\d.]+ ms; torch 2\./);
    expect(statuses(await run(served.address, { TORCHWIRE_PROFILE: "gpu-box" }))).toBe("ok ok ok ok");
  });

  test("whose second port is another one is found by its profile, or by both addresses", async () => {
    await using proxy = await FaultProxy.openApart(served.port);
    setAddress("gpu-box", proxy.address, proxy.control);
    const checks = await run("gpu-box");
    expect(statuses(checks)).toBe("ok ok ok ok");
    expect(checks["control-port"]!.detail).toBe(`${proxy.control} answers, and wants keys`);
    const named = { TORCHWIRE_PROFILE: "gpu-box" };
    expect(statuses(await run(proxy.address, named))).toBe("ok ok ok ok");
    setAddress("gpu-box", served.address);
    expect(statuses(await run(`${proxy.address},${proxy.control}`, named))).toBe("ok ok ok ok");
    const nobody = `tcp://127.0.0.1:${await freePorts(1)}`;
    const broken = await run(`${proxy.address},${nobody}`, named);
    expect(statuses(broken)).toBe("ok ok failed skipped");
    expect(broken["control-port"]!.detail).toBe(`nobody listens at ${nobody}`);
  });

  test("that another client has says so: the chain works", async () => {
    await using _worker = await connectWorker(served.address, { profile: "gpu-box", timeout: 30_000 });
    const checks = await run("gpu-box");
    expect(statuses(checks)).toBe("ok ok ok warning");
    expect(checks["round-trip"]!.detail).toContain("gpu-box");
  });

  test("that wants keys, without a profile, names what makes them", async () => {
    const checks = await run(served.address);
    expect(statuses(checks)).toBe("ok failed failed skipped");
    expect(checks["data-port"]!.command).toBe("npx torchwire keygen NAME");
  });

  test("that has another key than the profile knows, or does not know ours, says which", async () => {
    keygen({ name: "wrong-server", address: served.address, env });
    const { public: serverKey } = readProfile("gpu-box", env).server;
    keygen({ name: "wrong-client", address: served.address, serverKey, env });
    const ours = fingerprint(readProfile("wrong-client", env).client.public);
    const theirs = fingerprint(readProfile("wrong-server", env).server.public);
    for (const [name, key] of [
      ["wrong-server", theirs],
      ["wrong-client", ours],
    ] as const) {
      const checks = await run(name);
      expect(statuses(checks)).toBe("ok ok ok failed");
      expect(checks["round-trip"]!.detail).toContain(key);
      expect(checks["round-trip"]!.command).toBe("torchwire-worker clients --keys DIR");
    }
  });

  test("with a profile that is not there, or that others can read, names what mends it", async () => {
    const checks = await run("nobody");
    expect(statuses(checks)).toBe("failed skipped skipped skipped");
    expect(checks["profile"]!.command).toBe("npx torchwire keygen nobody");
    const path = profilePath("gpu-box", env);
    chmodSync(path, 0o644);
    try {
      expect((await run("gpu-box"))["profile"]!.command).toBe(`chmod 600 ${path}`);
    } finally {
      chmodSync(path, 0o600);
    }
  });

  test("where nobody is names what starts one there", async () => {
    const nowhere = served.address.replace(/\d+$/, "2");
    setAddress("gpu-box", nowhere);
    const checks = await run("gpu-box");
    expect(statuses(checks)).toBe("ok failed failed skipped");
    expect(checks["control-port"]!.command).toBe(`torchwire-worker serve --bind ${nowhere} --keys DIR`);
  });

  test("that has no keys is not spoken to with some", async () => {
    await using open = await serve();
    setAddress("gpu-box", open.address);
    const checks = await run("gpu-box");
    expect(statuses(checks)).toBe("ok failed failed skipped");
    expect(checks["data-port"]!.command).toBe("torchwire-worker serve --keys DIR");
    expect(statuses(await run(open.address))).toBe("ok ok ok ok");
  });
});
