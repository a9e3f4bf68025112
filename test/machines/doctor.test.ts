/** The doctor's findings, with a real worker and in small worlds where something is broken. */

import { mkdirSync } from "node:fs";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Check } from "../../bridge/doctor/check.ts";
import { doctor } from "../../bridge/doctor/doctor.ts";
import { checkDisk, checkSharedMemory } from "../../bridge/doctor/machine.ts";
import { checkDevice, checkPackage, checkTorchvision, type Inspected, inspect } from "../../bridge/doctor/packages.ts";
import { findPython } from "../../bridge/environment/find.ts";
import { packageRoot, packageVersion } from "../../bridge/environment/package.ts";
import { built } from "../built.ts";
import { World } from "../fixtures/environment/world.ts";

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world[Symbol.dispose]());

/** Its exit code and what it prints as JSON. */
async function run(
  env: NodeJS.ProcessEnv,
  ...args: string[]
): Promise<{ exitCode: number | undefined; checks: Check[] }> {
  const { exitCode, stdout } = await execa(process.execPath, [built("bridge/cli.ts"), "doctor", "--json", ...args], {
    cwd: packageRoot(),
    env: { ...world.env, ...env },
    extendEnv: false,
    reject: false,
  });
  const report = JSON.parse(stdout) as { torchwire: string; ok: boolean; checks: Check[] };
  expect(report).toEqual({ torchwire: packageVersion(), ok: exitCode === 0, checks: expect.any(Array) });
  return { exitCode, checks: report.checks };
}

const names: string[] = (
  "node zeromq msgpackr temporary-folder sockets shared-memory disk python " +
  "pyzmq msgspec numpy torch torchvision device round-trip"
).split(" ");

describe("the doctor", () => {
  test("finds that everything works, by starting a worker, and prints a line for each", async () => {
    const { executable } = await findPython();
    const { exitCode, checks } = await run({ TORCHWIRE_PYTHON: executable });
    expect(checks.filter(({ status }) => status === "failed" || status === "skipped")).toEqual([]);
    expect(exitCode).toBe(0);
    expect(checks.map(({ name }) => name)).toEqual(names);
    const detail = (name: string): string | undefined => checks.find((check) => check.name === name)?.detail;
    expect(detail("node")).toContain(process.versions.node);
    expect(detail("python")).toContain(`${executable} (from TORCHWIRE_PYTHON)`);
    expect(detail("torch")).toMatch(/^2\.\d+\.\d+/);
    expect(detail("round-trip")).toMatch(/^a worker on \w+ started in \d+ s and answers$/);
  });

  test("without an interpreter lists the places, skips what needs one, and names the command", async () => {
    let printed = "";
    const write = (text: string): unknown => (printed += text);
    const env = { ...world.env, TORCHWIRE_CACHE: world.cache, VIRTUAL_ENV: world.venv("active", ["torch"]) };
    expect(await doctor({ env, output: { write } })).toBe(false);
    expect(printed).toMatch(
      /\n {2}FAIL {2}python +none was found\n +option python: not given\n[^]*VIRTUAL_ENV: .* lacks zmq, msgspec\n[^]*Run: npx torchwire setup\n/,
    );
    expect(printed).toMatch(/\n {2}- +round-trip +there is no interpreter to ask\n/);
    expect(printed.endsWith("\n1 failed.\n")).toBe(true);
    expect(printed).not.toContain("\x1b");
  });

  test("of a named interpreter that lacks packages names what installs them there", async () => {
    const python = world.python("mine/python");
    const { exitCode, checks } = await run({}, "--python", python);
    expect(exitCode).toBe(1);
    const find = (name: string): Check | undefined => checks.find((check) => check.name === name);
    expect(find("python")).toMatchObject({ status: "ok", detail: expect.stringContaining("it was asked for") });
    expect(find("torch")).toEqual({
      name: "torch",
      status: "failed",
      detail: "it is not there",
      command: `${python} -m pip install --force-reinstall torch`,
    });
    expect(find("round-trip")).toMatchObject({ status: "skipped" });
  });

  test("of an interpreter that does not run, or is too old, says so", async () => {
    const broken = world.script("broken/python", "echo the disk is made of cheese >&2; exit 1");
    const { checks } = await run({ TORCHWIRE_PYTHON: broken });
    const python = checks.find(({ name }) => name === "python");
    expect(python).toMatchObject({ status: "failed", detail: expect.stringContaining("made of cheese") });
  });
});

describe("packages", () => {
  const found = (packages: Record<string, string | [version: string, error: string]>): Inspected => ({
    packages: new Map(
      Object.entries(packages).map(([name, given]) => {
        const [version, error] = typeof given === "string" ? [given, undefined] : given;
        return [name, { version, error }];
      }),
    ),
    devices: undefined,
    pip: true,
    crash: undefined,
  });
  const install = (...names: string[]): string => `install ${names.join(" ")}`;

  test("a torchvision compiled for another build of torch is recognised, with the cure", () => {
    const error = "RuntimeError: operator torchvision::nms does not exist";
    expect(checkTorchvision(found({ torch: "2.13.0+cpu", torchvision: ["0.28.0", error] }), install)).toEqual({
      status: "failed",
      detail: `torch 2.13.0+cpu and torchvision 0.28.0 do not fit (${error}): they must be of one build, both from one index`,
      command: "install torch==2.13.0 torchvision==0.28.*",
    });
    expect(checkTorchvision(found({ torch: "2.15.0", torchvision: ["0.29.1", error] }), install)).toMatchObject({
      status: "failed",
      detail: expect.stringContaining("torch 2.15.0 goes with torchvision 0.30, both from one index"),
      command: "install torch==2.15.0 torchvision==0.30.*",
    });
  });

  test("a pair of different releases that loads is a warning; the right pair, and no torchvision, are not failures", () => {
    const check = (torch: string, torchvision: string): unknown =>
      checkTorchvision(found({ torch, torchvision }), install).status;
    expect(check("2.15.0", "0.29.1")).toBe("warning");
    expect(check("2.14.1+cu130", "0.29.1+cu130")).toBe("ok");
    expect(check("2.6.0", "0.21.0")).toBe("ok");
    const none: Inspected = { ...found({ torch: "2.14.1" }), crash: undefined };
    none.packages.set("torchvision", { version: undefined, error: undefined });
    expect(checkTorchvision(none, install)).toEqual({
      status: "warning",
      detail: "it is not there",
      command: "install torchvision",
    });
  });

  test("one that kills the interpreter is named, and those before it are known", async () => {
    const modules = ["zmq", "msgspec", "numpy"];
    const folder = world.venv("dying", [...modules, "torch"]);
    world.file("dying-site/torch/__init__.py", "import os, signal; os.kill(os.getpid(), signal.SIGILL)");
    const inspected = await inspect(`${folder}/bin/python`, world.env);
    expect(checkPackage("numpy", inspected, install).status).toBe("ok");
    expect(checkPackage("torch", inspected, install)).toEqual({
      status: "failed",
      detail: "does not load: Python ended by SIGILL",
      command: "install torch",
    });
    expect(checkDevice(inspected).status).toBe("skipped");
  });

  test("a GPU that torch does not use is a warning", () => {
    const device = (detail: string, warned = ""): unknown =>
      checkDevice({ ...found({ torch: "2.14.1" }), devices: { name: "cpu", detail, warned } }, true);
    expect(device("built for the CPU alone")).toMatchObject({
      status: "warning",
      command: "npx torchwire setup --torch-backend auto",
    });
    expect(device("built for CUDA 13.0", "the driver is too old")).toMatchObject({
      status: "warning",
      detail: expect.stringContaining("is not used: the driver is too old"),
      command: "nvidia-smi",
    });
  });
});

describe("the machine", () => {
  test("is warned of where shared memory is small or missing", () => {
    const memory = checkSharedMemory(world.path("none"));
    expect(memory.status).toBe(process.platform === "linux" ? "warning" : "skipped");
  });

  test("has so much room where environments lie", () => {
    mkdirSync(world.cache);
    const { status, detail } = checkDisk(world.env, false);
    expect(["ok", "warning"]).toContain(status);
    expect(detail).toMatch(new RegExp(`^[\\d.]+ [GM]B free in ${world.cache}`));
  });
});
