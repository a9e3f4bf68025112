/** Set-ups that really make environments, offline: of one small wheel instead of PyTorch. */

import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ensurePython } from "../bridge/environment/ensure.ts";
import { packageRoot } from "../bridge/environment/package.ts";
import { setup, type SetupOptions } from "../bridge/environment/setup.ts";
import { World } from "./fixtures/environment/world.ts";

describe("a set-up that succeeds", () => {
  let world: World;
  let options: SetupOptions;
  let results: { executable: string; created: boolean }[];
  let said: string;

  beforeAll(async () => {
    world = new World();
    world.python("bin/python3");
    options = { requirements: world.wheel("tiny", "answer = 42"), env: world.env };
    const runs = await Promise.all([start(options), start(options)]);
    results = runs.map(({ stdout }) => JSON.parse(stdout));
    said = runs.map(({ stderr }) => stderr).join("\n");
  }, 60_000);
  afterAll(() => world[Symbol.dispose]());

  test("run twice at once makes one environment, and the second says that it waits", async () => {
    expect(results.filter(({ created }) => created)).toHaveLength(1);
    expect(results[0]?.executable).toBe(results[1]?.executable);
    expect(said.match(/another set-up is at work \(process \d+ on .*\); waiting for it/g)).toHaveLength(1);
    expect(said).toMatch(/making a Python environment .*on disk, .* free\)[^]*ready in \d+ s, [\d.]+ MB: /);
    expect(readdirSync(`${world.cache}/environments`)).toHaveLength(1);
    const { stdout } = await execa(results[0]?.executable ?? "", ["-c", "import tiny; print(tiny.answer)"]);
    expect(stdout).toBe("42");
  });

  test("is not repeated: the next run starts no process", async () => {
    const lines: string[] = [];
    // Nothing could be started: PATH is empty.
    const env = { ...world.env, PATH: "" };
    const again = await setup({ ...options, env, onProgress: (line) => lines.push(line) });
    expect(again).toEqual({ executable: results[0]?.executable, created: false });
    expect(await ensurePython({ ...options, env, cwd: world.root })).toEqual({
      executable: results[0]?.executable,
      source: "managed",
    });
    expect(lines).toEqual([]);
  });

  test("uses the uv on PATH, with the system's certificates where its own do not do", async () => {
    using world = new World();
    world.uv();
    world.python("bin/python3");
    const requirements = world.wheel("msgspec", "answer = 42");
    const lines: string[] = [];
    const { executable } = await setup({ requirements, env: world.env, onProgress: (line) => lines.push(line) });
    const marker: unknown = JSON.parse(readFileSync(join(executable, "../../torchwire.json"), "utf8"));
    expect(marker).toMatchObject({ installer: "uv" });
    expect(lines.at(-1)).toMatch(/^torchwire: ready in \d+ s, /);
  });

  test("is not repeated for the same interpreter under another name", async () => {
    const python = world.python("elsewhere/python");
    expect(await setup({ ...options, python })).toEqual({ executable: results[0]?.executable, created: false });
  });
});

describe("a set-up that does not", () => {
  let world: World;
  let requirements: string;
  beforeEach(() => {
    world = new World();
    requirements = world.file("none.txt", "# nothing\n");
  });
  afterEach(() => world[Symbol.dispose]());

  const failure = (options: SetupOptions): Promise<string> =>
    setup({ requirements, env: world.env, onProgress: () => undefined, ...options }).then(
      () => "it succeeded",
      (error: unknown) => String(error),
    );

  test("leaves nothing behind when the packages cannot be installed, and quotes the installer", async () => {
    requirements = world.file("bad.txt", "absent @ file:///no/such/absent-1.0-py3-none-any.whl\n");
    const python = world.python("bin/python3");
    expect(await failure({ python })).toMatch(/installing the packages failed \(exit code 1\)[^]*absent-1\.0/);
    expect(existsSync(world.cache)).toBe(false);
  }, 60_000);

  test("leaves nothing behind when what it installed cannot be imported", async () => {
    world.uv();
    requirements = world.wheel("msgspec", "raise ImportError('made for another machine')");
    const python = world.python("bin/python3");
    expect(await failure({ python })).toMatch(/importing the packages failed[^]*made for another machine/);
    expect(existsSync(world.cache)).toBe(false);
  });

  test("removes what killed runs left, and nothing else", async () => {
    const left = `${world.cache}/environments/0123456789ab-3.11.7-linux-x86_64-abcdef`;
    mkdirSync(`${left}/bin`, { recursive: true });
    mkdirSync(`${world.cache}/environments/mine`);
    expect(await failure({ python: world.failingPython() })).toMatch(/failed \(exit code 7\)[^]*made of cheese/);
    expect(readdirSync(`${world.cache}/environments`)).toEqual(["mine"]);
  });

  test("names the package that Debian keeps apart when ensurepip is missing", async () => {
    const says =
      's/"missing": \\[\\]/"missing": ["ensurepip"]/; s#"executable": "[^"]*"#"executable": "/usr/bin/python3"#';
    const python = world.oddPython("bin/python3", { says });
    expect(await failure({ python })).toMatch(
      existsSync("/usr/bin/apt-get")
        ? /\(\/usr\/bin\/python3\) cannot make .* no ensurepip[^]*Run: sudo apt install python3\.\d+-venv && npx torchwire setup$/
        : /has no ensurepip\. Install uv/,
    );
    expect(existsSync(world.cache)).toBe(false);
  });

  test("told to end takes its children along, leaves nothing behind and ends by that signal", async () => {
    const child = start({ requirements, env: world.env, python: world.endlessPython() });
    await until(() => existsSync(world.path("endless.pid")));
    child.kill("SIGTERM");
    expect(await child).toMatchObject({ signal: "SIGTERM" });
    // Its grandchild makes the folder anew fifty times a second, while it lives.
    await sleep(200);
    expect(existsSync(world.cache)).toBe(false);
  });

  test("killed outright loses its lock and its folder to the next run", async () => {
    const child = start({ requirements, env: world.env, python: world.endlessPython() });
    await until(() => existsSync(world.path("endless.pid")));
    child.kill("SIGKILL");
    await child;
    // What it had started lives on in a group of its own; it must not outlive the test.
    process.kill(-Number(readFileSync(world.path("endless.pid"), "utf8")), "SIGKILL");
    expect(readdirSync(`${world.cache}/environments`)).toHaveLength(2);
    expect(await failure({ python: world.failingPython() })).toContain("made of cheese");
    expect(readdirSync(`${world.cache}/environments`)).toEqual([]);
  });
});

function start(options: SetupOptions) {
  const args = ["--import", "tsx", "test/fixtures/environment/setup.ts", JSON.stringify(options)];
  return execa(process.execPath, args, { cwd: packageRoot(), reject: false });
}

async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 20_000; !condition(); await sleep(10)) {
    if (performance.now() > end) throw new Error("what the test waits for did not happen within 20 s");
  }
}
