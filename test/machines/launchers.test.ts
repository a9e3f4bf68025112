/** Things between a program and its worker: launchers, folders, Python's own settings. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { py, spawnWorker, type SpawnOptions } from "torchwire";
import { findPython } from "../../bridge/environment/find.ts";
import { EnvironmentError } from "../../bridge/errors/errors.ts";
import { startProcess } from "../../bridge/start/process.ts";
import { isRunning, poll } from "../fixtures/life/world.ts";
import { describeOnLinux } from "../only.ts";
import { testWorker } from "../worker.ts";

let folder: string;
let executable: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "torchwire-launchers-"));
  ({ executable } = await findPython());
});
afterAll(() => rmSync(folder, { recursive: true }));

const failure = (options: SpawnOptions): Promise<Error> =>
  spawnWorker({ device: "cpu", ...options }).then(
    async (worker) => {
      await worker.kill();
      return new Error("it was started");
    },
    (error: unknown) => error as Error,
  );

/** A Python that is a script: `PYTHON "$@"` is the real one. */
function launcher(body: string): string {
  const path = join(folder, "launcher");
  writeFileSync(path, `#!/bin/sh\n${body.replaceAll("PYTHON", `"${executable}"`)}\n`);
  chmodSync(path, 0o755);
  return path;
}

test("a folder that is not there, or is none, is told as that", async () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  for (const [cwd, why] of [
    [join(folder, "none"), "is not there"],
    [file, "is no folder"],
    [join(file, "below"), "is no folder"],
  ] as const) {
    const error = await failure({ cwd });
    expect(error).toBeInstanceOf(EnvironmentError);
    expect(error.message).toContain(
      `cwd is ${cwd}, which ${why}: a worker is started in a folder. Name another one with the option cwd.`,
    );
  }
});

test("and so is the current folder, where somebody has removed it", async () => {
  const here = process.cwd();
  const gone = join(folder, "gone");
  mkdirSync(gone);
  process.chdir(gone);
  rmSync(gone, { recursive: true });
  try {
    expect((await failure({ python: executable })).message).toMatch(/^the current folder is not there: /);
  } finally {
    process.chdir(here);
  }
});

describeOnLinux("a launcher", () => {
  test.for([
    ["standard input", 'exec PYTHON "$@" </dev/null', /does not pass standard input on, .*: it is at its end\./],
    ["standard input", 'exec PYTHON "$@" <&-', /does not pass standard input on/],
    ["standard input", ': | PYTHON "$@"', /does not pass standard input on/],
    ["descriptor 3", 'exec PYTHON "$@" 3>&-', /does not pass descriptor 3 on, by which the worker reports\./],
    ["descriptor 3", 'PYTHON "$@" 3>&-; true', /does not pass descriptor 3 on, by which the worker reports\./],
  ] as const)("that does not pass on %s (%s) is told as that", async ([, body, why]) => {
    const python = launcher(body);
    const error = await failure({ python });
    expect(error).toBeInstanceOf(EnvironmentError);
    expect(error.message).toMatch(why);
    expect(error.message.startsWith(`${python} does not pass `)).toBe(true);
    expect(error.message).toContain("conda run needs --no-capture-output");
  });

  test.for([
    ["starts nothing", "sleep 1000"],
    ["hands descriptor 3 to somebody else", 'PYTHON "$@" 3>/dev/null; true'],
  ])("that %s is not waited for, and goes with what it has started", async ([, body]) => {
    const python = launcher(`echo $$ > "${folder}/pid"; echo one moment; ${body}`);
    const config = {
      token: "x",
      directory: null,
      device: "cpu",
      seed: 0,
      deterministic: true,
      threads: 1,
      malloc: true,
    };
    const options = { cwd: folder, env: {}, logger: pino({ level: "silent" }), longestSilence: 700 };
    await expect(startProcess(python, config, options)).rejects.toThrow(
      /launcher was started, and nothing is heard of a worker\. [^]*descriptor 3[^]*What it said:\n {4}one moment/,
    );
    const pid = Number(readFileSync(join(folder, "pid"), "utf8"));
    expect(
      await poll(
        5000,
        () => isRunning(pid),
        (runs) => !runs,
      ),
    ).toBe(false);
  });

  test("that hands on an input by which nothing comes is told as that", async () => {
    const impatient = `import sys, runpy; sys.argv = sys.argv[1:]
import os; above = os.path.dirname(os.path.dirname(sys.argv[0])); sys.path.insert(0, above)
import torchwire_worker.__main__ as main; main.PATIENCE_SECONDS = 0.2; main.main()`;
    const python = launcher(`sleep 1000 | PYTHON -c '${impatient}' "$@"`);
    const config = {
      token: "x",
      directory: null,
      device: "cpu",
      seed: 0,
      deterministic: true,
      threads: 1,
      malloc: true,
    };
    const options = { cwd: folder, env: {}, logger: pino({ level: "silent" }) };
    const started = startProcess(python, config, options);
    await expect(Promise.race([started, new Promise((resolve) => setTimeout(resolve, 20_000))])).rejects.toThrow(
      /does not pass standard input on, .*: it is open, but nothing came/,
    );
  });
});

test("settings of Python's own, which a shell may have, do no harm", async () => {
  writeFileSync(join(folder, "mine.py"), "answer = 42\n");
  const lines: unknown[] = [];
  const logger = pino(
    { level: "info" },
    { write: (line) => void lines.push((JSON.parse(line) as { msg: string }).msg) },
  );
  const env = {
    PYTHONSAFEPATH: "1",
    PYTHONIOENCODING: "latin-1",
    PYTHONINSPECT: "1",
    PYTHONHOME: "/nowhere",
    PYTHONPLATLIBDIR: "nowhere",
    PYTHONSTARTUP: "/nowhere/startup.py",
    PYTHONNOUSERSITE: "1",
    PYTHONDONTWRITEBYTECODE: "1",
    PYTHONBREAKPOINT: "0",
    PYTHONHASHSEED: "7",
    PYTHONUTF8: "0",
    LC_ALL: "C",
  };
  const before = { ...process.env };
  Object.assign(process.env, env);
  let worker;
  try {
    worker = await testWorker({ cwd: folder, logger });
  } finally {
    for (const name of Object.keys(env)) delete process.env[name];
    Object.assign(process.env, before);
  }
  expect(await worker.tensor([1, 2]).sum().item()).toBe(3);
  expect(await worker.import("mine").answer).toBe(42);
  await py.js(worker.import("builtins").print("Grüße €"));
  await worker.close();
  expect(lines).toContain("Grüße €");
});
