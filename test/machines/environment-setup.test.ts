/** Set-ups that really make environments, offline: of one small wheel instead of PyTorch. */

import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { devNull } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { clean } from "../../bridge/environment/clean.ts";
import { ensurePython } from "../../bridge/environment/ensure.ts";
import { findPython } from "../../bridge/environment/find.ts";
import { packageRoot } from "../../bridge/environment/package.ts";
import { setup, type SetupOptions } from "../../bridge/environment/setup.ts";
import { built } from "../built.ts";
import { realPython, World } from "../fixtures/environment/world.ts";
import { where } from "../only.ts";

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
    expect(markerOf(executable)).toMatchObject({ installer: "uv" });
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
    const python = world.seededPython("bin/python3");
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
      's/"missing": \\[[^]]*\\]/"missing": ["ensurepip", "virtualenv", "uv"]/; s#"executable": "[^"]*"#"executable": "/usr/bin/python3"#';
    const python = world.oddPython("bin/python3", { says });
    expect(await failure({ python })).toMatch(
      existsSync("/usr/bin/apt-get")
        ? /\(\/usr\/bin\/python3\) cannot make .* no ensurepip[^]*Run: sudo apt install python3\.\d+-venv && npx torchwire setup$/
        : /has no ensurepip\. Install uv/,
    );
    expect(existsSync(world.cache)).toBe(false);
  });

  test("whose Python half ends without a word says how it ended, and quotes it", async () => {
    const python = world.path("mute/python3");
    const about = { executable: python, version: "3.11.7", platform: "linux-x86_64", missing: [] };
    world.script(
      "mute/python3",
      `case "$*" in *torchwire_worker*) echo "no such luck" >&2; exit 5;; esac\necho '${JSON.stringify(about)}'`,
    );
    expect(await failure({ python })).toMatch(
      /the set-up ended early \(exit code 5\): \S+mute\/python3\n {2}no such luck\nRun: npx torchwire setup$/,
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

  test("whose program is killed outright takes its children along, and leaves nothing behind", async () => {
    const child = start({ requirements, env: world.env, python: world.endlessPython() });
    await until(() => existsSync(world.path("endless.pid")));
    child.kill("SIGKILL");
    await child;
    await until(() => !existsSync(world.cache));
    await sleep(200);
    expect(existsSync(world.cache)).toBe(false);
  });

  test("killed outright loses its lock and its folder to the next run", async () => {
    const child = start({ requirements, env: world.env, python: world.endlessPython() });
    await until(() => existsSync(world.path("endless.pid")));
    // Both halves: the one in Python would remove what it has made.
    const { pid } = JSON.parse(readFileSync(`${world.cache}/environments/.lock`, "utf8")) as { pid: number };
    process.kill(pid, "SIGKILL");
    child.kill("SIGKILL");
    await child;
    // The process that it started lives on in a group of its own, and must not outlive the test.
    process.kill(-Number(readFileSync(world.path("endless.pid"), "utf8")), "SIGKILL");
    expect(readdirSync(`${world.cache}/environments`)).toHaveLength(2);
    expect(await failure({ python: world.failingPython() })).toContain("made of cheese");
    expect(readdirSync(`${world.cache}/environments`)).toEqual([]);
  });
});

describe("the build of PyTorch that is asked for", () => {
  let world: World;
  let lines: string[];
  let options: SetupOptions;
  beforeEach(() => {
    world = new World();
    world.seededPython("bin/python3");
    const wheel = readFileSync(world.wheel("msgspec", "answer = 42"), "utf8");
    const requirements = world.file("list.txt", `nvidia-cublas==13.1.1.3 ; sys_platform == 'linux'\n${wheel}`);
    lines = [];
    options = { requirements, env: world.env, onProgress: (line) => lines.push(line) };
  });
  afterEach(() => world[Symbol.dispose]());

  test("is uv's to get, with the libraries of that build and not the pinned ones; each has an environment", async () => {
    world.uv();
    const cpu = await setup({ ...options, torchBackend: "cpu" });
    expect(markerOf(cpu.executable)).toMatchObject({ installer: "uv", backend: "cpu" });
    expect(cpu.executable).toMatch(/[+]cpu-[0-9a-f]{6}\/bin\/python$/);
    expect(readFileSync(world.path("uv.log"), "utf8")).toMatch(/pip install .*--torch-backend cpu -r /);
    expect(readFileSync(world.path("uv.list"), "utf8")).toMatch(/^msgspec @ [^\n]*\n$/);
    expect(await setup({ ...options, torchBackend: "cpu" })).toEqual({ ...cpu, created: false });
    // Without a build asked for, the existing one is used; another build is made where it is asked for.
    expect(await setup(options)).toEqual({ ...cpu, created: false });
    const other = await setup({ ...options, torchBackend: "cu130" });
    expect(other.created).toBe(true);
    // The one last asked for is the one that is found.
    expect(await findPython({ ...options, cwd: world.root })).toEqual({
      executable: other.executable,
      source: "managed",
    });
    await setup({ ...options, torchBackend: "cpu" });
    expect(await findPython({ ...options, cwd: world.root })).toEqual({
      executable: cpu.executable,
      source: "managed",
    });
  });

  test("is the package index's where PyTorch's own cannot be reached, which one line says", async () => {
    world.uv();
    const { executable } = await setup({ ...options, torchBackend: "cu126" });
    expect(markerOf(executable)).not.toHaveProperty("backend");
    expect(lines.filter((line) => line.includes("index"))).toEqual([
      `torchwire: PyTorch's own index, which has its build "cu126", cannot be reached; taking the package index's build instead`,
    ]);
    expect(readFileSync(world.path("uv.list"), "utf8")).toContain("nvidia-cublas");
    // The next time, the one that was made then serves.
    expect(await setup({ ...options, torchBackend: "cu126" })).toEqual({ executable, created: false });
    expect(readdirSync(`${world.cache}/environments`)).toHaveLength(1);
  });

  where(process.platform === "linux" && !existsSync("/dev/nvidiactl"), "it needs Linux without an NVIDIA GPU")(
    "that nobody has asked for",
    () => {
      beforeEach(() => {
        const torch = readFileSync(world.wheel("torch", "answer = 42"), "utf8");
        options.requirements = world.file("list.txt", `torch==2.14.1\nnvidia-cublas==13.1.1.3\n${torch}`);
      });

      test("is PyTorch's CPU build where no GPU is seen", async () => {
        world.uv();
        const { executable } = await setup(options);
        expect(markerOf(executable)).toMatchObject({ backend: "cpu" });
        const log = readFileSync(world.path("uv.log"), "utf8");
        expect(log).toMatch(/--dry-run --no-deps --torch-backend cpu torch==2\.14\.1\n[^]*--torch-backend cpu -r /);
        expect(readFileSync(world.path("uv.list"), "utf8")).not.toContain("nvidia");
        expect(lines[0]).toContain("about 1.2 GB on disk");
        expect(await setup(options)).toEqual({ executable, created: false });
      });

      test("is the package index's where PyTorch's own cannot be reached, which one line says", async () => {
        world.uv("cpu");
        const { executable } = await setup(options);
        expect(markerOf(executable)).not.toHaveProperty("backend");
        expect(readFileSync(world.path("uv.list"), "utf8")).toContain("nvidia-cublas");
        expect(lines.filter((line) => line.includes("index"))).toEqual([
          "torchwire: no GPU is seen here, for which PyTorch's CPU build does; but PyTorch's own index, which has its build " +
            `"cpu", cannot be reached; taking the package index's build instead`,
        ]);
      });
    },
  );

  test("is the package index's where there is only pip, which one line says", async () => {
    options.requirements = world.wheel("tiny", "answer = 42");
    const { executable } = await setup({ ...options, torchBackend: "cpu" });
    expect(markerOf(executable)).toMatchObject({ installer: "pip" });
    expect(lines.filter((line) => line.includes("--torch-backend cpu needs uv"))).toHaveLength(1);
  }, 60_000);

  test("has a name of letters and digits", async () => {
    await expect(setup({ ...options, torchBackend: "../cpu" })).rejects.toThrow(
      /"\.\.\/cpu" names no build of PyTorch/,
    );
    expect(existsSync(world.cache)).toBe(false);
  });
});

describe("what surrounds a set-up", () => {
  let world: World;
  let options: SetupOptions;
  beforeEach(() => {
    world = new World();
    world.seededPython("bin/python3");
    options = { requirements: world.wheel("msgspec", "answer = 42"), env: world.env, onProgress: () => undefined };
  });
  afterEach(() => world[Symbol.dispose]());

  test("reaches uv: proxies, indexes, certificates", async () => {
    world.uv();
    const settings = {
      HTTPS_PROXY: "http://proxy:3128",
      NO_PROXY: "localhost",
      UV_INDEX_URL: "http://mirror/simple",
      PIP_INDEX_URL: "http://mirror/simple",
      SSL_CERT_FILE: "/etc/certificates.pem",
    };
    await setup({ ...options, env: { ...world.env, ...settings } });
    const seen = readFileSync(world.path("uv.env"), "utf8").split("\n");
    for (const [name, value] of Object.entries(settings)) expect(seen).toContain(`${name}=${value}`);
  });

  /** Each would have packages put elsewhere, left out or only talked about. */
  const elsewhere = (): Record<string, string> => ({
    ...Object.fromEntries(["TARGET", "PREFIX", "ROOT", "SRC"].map((name) => [`PIP_${name}`, world.path("elsewhere")])),
    ...Object.fromEntries(["USER", "DRY_RUN", "NO_DEPS", "REQUIRE_HASHES"].map((name) => [`PIP_${name}`, "1"])),
    PIP_REQUIRE_VIRTUALENV: "1",
    PIP_NO_BINARY: ":all:",
    PIP_CONSTRAINT: "/nowhere/constraints.txt",
    PIP_PYTHON: "/nowhere/python",
    PYTHONHOME: "/nowhere",
    PYTHONPATH: world.path("elsewhere"),
    PYTHONUSERBASE: world.path("elsewhere"),
    PYTHONIOENCODING: "utf-16",
    VIRTUAL_ENV: "/nowhere",
    VIRTUALENV_SYSTEM_SITE_PACKAGES: "1",
  });

  test("does not reach pip where it would install elsewhere: neither by variables nor by its own files", async () => {
    options.requirements = world.wheel("tiny", "answer = 42");
    // Python's own way to get pip, which reads the same.
    world.python("bin/python3");
    const target = world.path("elsewhere");
    const conf = world.file(
      "pip.conf",
      `[global]\ntarget = ${target}\nno-index = true\nno-deps = true\n[install]\nprefix = ${target}\nroot = ${target}\n`,
    );
    const { PYTHONHOME: _, ...variables } = elsewhere();
    const env = { ...world.env, ...variables, PIP_CONFIG_FILE: conf };
    const { executable } = await setup({ ...options, env });
    expect((await execa(executable, ["-I", "-c", "import tiny; print(tiny.answer)"])).stdout).toBe("42");
    expect(existsSync(target)).toBe(false);
  }, 60_000);

  test("does not reach uv where it would install elsewhere", async () => {
    world.uv();
    const other = {
      UV_TARGET: "/nowhere",
      UV_PREFIX: "/nowhere",
      UV_SYSTEM_PYTHON: "1",
      UV_PROJECT_ENVIRONMENT: "/nowhere",
      UV_PYTHON: "/nowhere",
      UV_CONSTRAINT: "/nowhere/constraints.txt",
      UV_NO_BINARY: "1",
      UV_TORCH_BACKEND: "cu126",
    };
    const meant = { UV_INDEX_PRIVATE_PASSWORD: "x", UV_CACHE_DIR: "/c", https_proxy: "http://proxy:1", LANG: "C" };
    const { PYTHONHOME: _, ...variables } = elsewhere();
    await setup({ ...options, env: { ...world.env, ...variables, ...other, ...meant } });
    const seen = readFileSync(world.path("uv.env"), "utf8").split("\n");
    for (const [name, value] of Object.entries(meant)) expect(seen).toContain(`${name}=${value}`);
    const names = seen.map((line) => line.split("=")[0]);
    for (const name of Object.keys({ ...elsewhere(), ...other })) expect(names).not.toContain(name);
  });

  test("is said by one list, near and far", async () => {
    const script = `import json, os, sys; sys.path.insert(0, sys.argv[1])
from torchwire_worker.environment.variables import installer_variables, pip_variables
print(json.dumps([installer_variables(), pip_variables(sys.argv[2])]))`;
    const env: Record<string, string> = {
      ...elsewhere(),
      ...Object.fromEntries(["ISOLATED", "LOG", "REPORT", "UPGRADE"].map((name) => [`PIP_${name}`, "1"])),
      UV_INDEX_MINE_USERNAME: "me",
      UV_INDEX: "x",
      UV_LINK_MODE: "copy",
      UV_HTTP_TIMEOUT: "9",
      UV_OVERRIDE: "o",
      PIP_CERT: "c",
      PIP_FIND_LINKS: "/w",
      PIP_INDEX_URL: "i",
      PIP_CACHE_DIR: "d",
      A: "b",
    };
    const { PYTHONHOME: _, PYTHONIOENCODING: __, ...given } = env;
    const listed = `global.index-url='a'\nglobal.target='t'\ninstall.index-url='b'\n:env:.find-links='/x\\n/y'\n:env:.user='1'`;
    const { stdout } = await execa(realPython, ["-c", script, join(packageRoot(), "python"), listed], {
      env: given,
      extendEnv: false,
    });
    const [installers, pip] = JSON.parse(stdout) as [Record<string, string>, Record<string, string>];
    // (Python sets one of its own where the locale is C.)
    delete installers["LC_CTYPE"];
    expect(installers).toEqual({
      VIRTUALENV_CONFIG_FILE: devNull,
      UV_INDEX_MINE_USERNAME: "me",
      UV_INDEX: "x",
      UV_LINK_MODE: "copy",
      UV_HTTP_TIMEOUT: "9",
      PIP_CERT: "c",
      PIP_FIND_LINKS: "/w",
      PIP_INDEX_URL: "i",
      PIP_CACHE_DIR: "d",
      A: "b",
    });
    expect(pip).toEqual({ PIP_CONFIG_FILE: devNull, PIP_INDEX_URL: "b", PIP_FIND_LINKS: "/x\n/y" });
  });

  test("is a uv that pip fetches into the environment, where there is none", async () => {
    const installs = `import subprocess, sys
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--no-index", *sys.argv[-2:]]))`;
    world.wheel("uv", installs);
    options.requirements = world.wheel("tiny", "answer = 42");
    // The wheel is found beside an index that cannot be reached.
    const { PIP_NO_INDEX: _, ...env } = world.env;
    const links = { PIP_FIND_LINKS: world.root, HTTPS_PROXY: "http://127.0.0.1:9", PIP_RETRIES: "0" };
    const { executable } = await setup({ ...options, env: { ...env, ...links } });
    expect(markerOf(executable)).toMatchObject({ installer: "uv" });
    expect((await execa(executable, ["-c", "import tiny; print(tiny.answer)"])).stdout).toBe("42");
  }, 60_000);

  test("is virtualenv where Python has no ensurepip", async () => {
    const says = 's/"missing": \\[[^]]*\\]/"missing": ["ensurepip", "virtualenv", "uv"]/';
    const python = world.oddPython("odd/python3", { says, venv: "exit 9" });
    world.virtualenv();
    options.requirements = world.wheel("tiny", "answer = 42");
    const { executable } = await setup({ ...options, python });
    expect(readFileSync(world.path("virtualenv.log"), "utf8")).toMatch(
      new RegExp(`^--python ${python} ${world.cache}`),
    );
    expect((await execa(executable, ["-c", "import tiny; print(tiny.answer)"])).stdout).toBe("42");
  }, 60_000);

  test("an index that nobody listens at is an error that says so, and nothing is left", async () => {
    const requirements = world.file("pinned.txt", "msgspec==0.22.0\n");
    const env = {
      ...world.env,
      PIP_NO_INDEX: "0",
      PIP_INDEX_URL: "http://127.0.0.1:9/simple",
      PIP_DEFAULT_TIMEOUT: "180",
    };
    await expect(setup({ ...options, requirements, env })).rejects.toThrow(
      /^reaching the package index \(its address and proxies .*\) failed \(exit code 1\)[^]*127\.0\.0\.1/,
    );
    expect(existsSync(world.cache)).toBe(false);
  }, 60_000);
});

describe("cleaning", () => {
  let world: World;
  let options: SetupOptions;
  let old: string;
  let used: string;
  beforeEach(async () => {
    world = new World();
    world.python("bin/python3");
    world.uv();
    options = { env: world.env, onProgress: () => undefined };
    old = folderOf(await setup({ ...options, requirements: world.wheel("msgspec", "answer = 41") }));
    options.requirements = world.wheel("numpy", "answer = 42");
    used = folderOf(await setup(options));
  });
  afterEach(() => world[Symbol.dispose]());
  const folderOf = ({ executable }: { executable: string }): string => join(executable, "../..");

  test("removes what this version does not use, and what killed runs left", async () => {
    const left = `${world.cache}/environments/0123456789ab-3.11.7-linux-x86_64-abcdef`;
    mkdirSync(left);
    mkdirSync(`${world.cache}/environments/mine`);
    const { removed, inUse, freed } = await clean(options);
    expect({ removed, inUse }).toEqual({ removed: [old, left], inUse: [] });
    expect(freed).toBeGreaterThan(1000);
    expect(readdirSync(`${world.cache}/environments`).toSorted()).toEqual([basename(used), "mine"].toSorted());
    expect((await clean({ ...options, all: true })).removed).toEqual([used]);
    expect(readdirSync(`${world.cache}/environments`)).toEqual(["mine"]);
  });

  test("keeps one in which a program runs, and says so", async (context) => {
    if (process.platform !== "linux") context.skip("it looks into /proc, which Linux has");
    const lines: string[] = [];
    const running = execa(join(used, "bin/python"), ["-c", "print(1, flush=True); input()"], { reject: false });
    await once(running.stdout, "data");
    const onProgress = (line: string): unknown => lines.push(line);
    expect(await clean({ ...options, onProgress, all: true })).toMatchObject({ removed: [old], inUse: [used] });
    expect(lines).toContain(`torchwire: kept, because a program runs in it: ${used}`);
    expect(existsSync(join(used, "bin/python"))).toBe(true);
    running.stdin.end();
    await running;
  });

  test("where nothing was made makes nothing", async () => {
    const cache = world.path("none");
    expect(await clean({ ...options, cache })).toEqual({ removed: [], inUse: [], freed: 0 });
    expect(existsSync(cache)).toBe(false);
  });
});

function start(options: SetupOptions) {
  const args = [built("test/fixtures/environment/setup.ts"), JSON.stringify(options)];
  return execa(process.execPath, args, { cwd: packageRoot(), reject: false });
}

/** What a marker says of how an environment was made. */
function markerOf(executable: string): unknown {
  return JSON.parse(readFileSync(join(executable, "../../torchwire.json"), "utf8"));
}

async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 20_000; !condition(); await sleep(10)) {
    if (performance.now() > end) throw new Error("what the test waits for did not happen within 20 s");
  }
}
