/** Finding an interpreter, the lock, and the command line: all offline, with real processes. */

import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  lchownSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findBase } from "../../bridge/environment/base.ts";
import { findPython } from "../../bridge/environment/find.ts";
import { site } from "../../bridge/environment/managed.ts";
import { packageRoot, packageVersion } from "../../bridge/environment/package.ts";
import { cacheDirectory } from "../../bridge/environment/places.ts";
import { plainProgress, progressOn } from "../../bridge/environment/progress.ts";
import { expectedSize, type SizeOptions } from "../../bridge/environment/space.ts";
import { EnvironmentError } from "../../bridge/errors/errors.ts";
import { setup } from "../../bridge/environment/setup.ts";
import { built } from "../built.ts";
import { finish, newFolder, realPython, World } from "../fixtures/environment/world.ts";
import { where } from "../only.ts";

const needed = ["torch", "zmq", "msgspec"];
let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world[Symbol.dispose]());

/** A finished managed environment that was never built: a marker and an interpreter. */
function pretendManaged(): string {
  const place = site({ env: world.env });
  const folder = newFolder(place);
  mkdirSync(join(folder, "bin"), { recursive: true });
  symlinkSync(realPython, join(folder, "bin", "python"));
  finish(folder, { base: realPython, version: "3.11.7", installer: "uv" });
  return folder;
}

function find(options: { python?: string; env?: NodeJS.ProcessEnv } = {}) {
  return findPython({ cwd: world.root, ...options, env: { ...world.env, ...options.env } });
}

describe("the order of places", () => {
  test("is option, TORCHWIRE_PYTHON, VIRTUAL_ENV, .venv, the managed environment", async () => {
    const managed = pretendManaged();
    expect(await find()).toEqual({ executable: join(managed, "bin/python"), source: "managed" });
    const dot = world.venv(".venv", needed);
    expect(await find()).toEqual({ executable: join(dot, "bin/python"), source: ".venv" });
    const env: NodeJS.ProcessEnv = { VIRTUAL_ENV: world.venv("active", needed) };
    expect(await find({ env })).toEqual({ executable: world.path("active/bin/python"), source: "VIRTUAL_ENV" });
    env.TORCHWIRE_PYTHON = world.python("mine/python");
    expect(await find({ env })).toEqual({ executable: env.TORCHWIRE_PYTHON, source: "TORCHWIRE_PYTHON" });
    const python = world.python("other/python");
    expect(await find({ env, python })).toEqual({ executable: python, source: "option" });
  });

  test("a named interpreter may be a relative path, a name on PATH or an environment's folder", async () => {
    const executable = world.python("bin/python-of-mine");
    expect(await find({ python: "./bin/python-of-mine" })).toEqual({ executable, source: "option" });
    expect(await find({ python: "python-of-mine" })).toEqual({ executable, source: "option" });
    const venv = world.venv("named", []);
    expect(await find({ python: venv })).toEqual({ executable: join(venv, "bin/python"), source: "option" });
  });

  test("a named interpreter that is missing is an error, though others would serve", async () => {
    pretendManaged();
    await expect(find({ python: "/no/such/python" })).rejects.toThrow(/the option python names \/no\/such\/python/);
    const env = { TORCHWIRE_PYTHON: world.file("not-executable", "") };
    await expect(find({ env })).rejects.toThrow(
      /TORCHWIRE_PYTHON names .*not-executable, which is not there or cannot/,
    );
  });

  test("finding nothing lists every place and why it did not serve", async () => {
    world.venv(".venv", ["msgspec"], ["torch"]);
    const error = await find({ env: { VIRTUAL_ENV: "/no/such/folder" } }).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(EnvironmentError);
    expect(error).toMatchObject({ code: "ENVIRONMENT", command: "npx torchwire setup" });
    const lines = String(error).split("\n");
    expect(lines).toHaveLength(7);
    expect(lines[1]).toMatch(/^ {2}option python +not given$/);
    expect(lines[2]).toMatch(/^ {2}TORCHWIRE_PYTHON +not set$/);
    expect(lines[3]).toMatch(/^ {2}VIRTUAL_ENV +\/no\/such\/folder has no python$/);
    // A bare folder named torch is no torch.
    expect(lines[4]).toMatch(/^ {2}\.venv +\S+\.venv lacks torch, zmq$/);
    expect(lines[5]).toContain(`in ${world.cache}/environments`);
    expect(lines[6]).toBe("Run: npx torchwire setup");
  });

  test("an activated .venv is looked at once", async () => {
    const folder = world.venv(".venv", []);
    const error = await find({ env: { VIRTUAL_ENV: folder } }).catch((error: unknown) => error);
    expect(String(error).match(/lacks torch/g)).toHaveLength(1);
  });

  test("an interpreter that does not run, or is too old, is passed over with the reason", async () => {
    world.script(".venv/bin/python", "echo broken >&2; exit 1");
    world.script("old/bin/python", answering("3.9.2"));
    const error = await find({ env: { VIRTUAL_ENV: world.path("old") } }).catch((error: unknown) => error);
    expect(String(error)).toMatch(/old is Python 3\.9\.2, older than 3\.10\n.*\.venv does not run: broken\n/);
  });
});

describe("a serverless function", () => {
  test("is told that it is no place for a worker", async () => {
    await expect(find({ env: { AWS_LAMBDA_FUNCTION_NAME: "train" } })).rejects.toThrow(
      /serverless function \(AWS_LAMBDA_FUNCTION_NAME is set\)[^]*docs\/platforms\.md/,
    );
  });
});

describe("the managed environment", () => {
  test("exists only with its marker and its interpreter", async () => {
    const place = site({ env: world.env });
    const whole = pretendManaged();
    const markerless = newFolder(place);
    mkdirSync(markerless);
    mkdirSync(join(place.directory, "somebody-elses"));
    expect(await find()).toMatchObject({ executable: join(whole, "bin/python") });

    const uninstalled = pretendManaged();
    await execa("rm", [join(uninstalled, "bin/python")]);
    symlinkSync(world.path("gone"), join(uninstalled, "bin/python"));
    expect(await find()).toMatchObject({ executable: join(whole, "bin/python") });
  });

  test("belongs to the bytes of its requirements", () => {
    const requirements = world.file("requirements.txt", "# one\n");
    const before = site({ requirements, env: world.env }).key;
    expect(site({ requirements, env: world.env }).key).toBe(before);
    world.file("requirements.txt", "# two\n");
    expect(site({ requirements, env: world.env }).key).not.toBe(before);
  });

  test("lies where TORCHWIRE_CACHE, XDG_CACHE_HOME or HOME say", (context) => {
    if (process.platform !== "linux") context.skip("XDG_CACHE_HOME is Linux's");
    expect(cacheDirectory({ HOME: "/h", XDG_CACHE_HOME: "/x", TORCHWIRE_CACHE: "/t" })).toBe("/t");
    expect(cacheDirectory({ HOME: "/h", XDG_CACHE_HOME: "/x" })).toBe("/x/torchwire");
    expect(cacheDirectory({ HOME: "/h", XDG_CACHE_HOME: "relative" })).toBe("/h/.cache/torchwire");
  });

  test("has a size that is known before it is made", () => {
    const size = (options: SizeOptions = {}): number =>
      expectedSize("torch==2.14.1\n", { platform: "linux", ...options });
    expect(size()).toBeGreaterThan(5e9);
    expect(size({ installer: "pip" })).toBeGreaterThan(8e9);
    expect(size({ backend: "cpu" })).toBeLessThan(2e9);
    expect(size({ platform: "darwin" })).toBeLessThan(2e9);
    expect(expectedSize("# nothing\n", { platform: "linux" })).toBeLessThan(1e9);
  });
});

const stranger = 65534;

where(process.platform !== "win32", "Windows has no file modes")("what others can write is not run", () => {
  /** How others could have what is run here say what they like; undefined: they could not. */
  const ways: readonly (readonly [string, (folder: string) => void, RegExp | undefined])[] = [
    ["the cache", (folder) => chmodSync(join(folder, "..", ".."), 0o777), /Run: chmod go-w \S+cache$/],
    ["the cache, by its group", (folder) => chmodSync(join(folder, "..", ".."), 0o775), /Run: chmod go-w \S+cache$/],
    ["the cache, with the sticky bit", (folder) => chmodSync(join(folder, "..", ".."), 0o1777), undefined],
    ["the folder of environments", (folder) => chmodSync(dirname(folder), 0o1777), /Run: chmod 700 \S+environments$/],
    ["the environment", (folder) => chmodSync(folder, 0o777), /Run: chmod 700 /],
    ["its programs", (folder) => chmodSync(join(folder, "bin"), 0o777), /Run: chmod \S+ \S+bin$/],
    ["its packages", (folder) => chmodSync(join(folder, "lib/python3.11/site-packages"), 0o777), /site-packages$/],
    ["its marker", (folder) => chmodSync(join(folder, "torchwire.json"), 0o666), /Run: chmod 600 \S+torchwire.json$/],
    ["its pyvenv.cfg", (folder) => chmodSync(join(folder, "pyvenv.cfg"), 0o666), /Run: chmod 600 \S+pyvenv.cfg$/],
    ["its interpreter", (folder) => ownPython(folder, 0o777), /Run: chmod go-w \S+python$/],
    [
      "what its interpreter is a link to",
      (folder) => {
        const elsewhere = world.path("elsewhere");
        mkdirSync(elsewhere);
        copyFileSync(ownPython(folder, 0o755), join(elsewhere, "python"));
        rmSync(join(folder, "bin/python"));
        symlinkSync(join(elsewhere, "python"), join(folder, "bin/python"));
        chmodSync(elsewhere, 0o777);
      },
      /Run: chmod o-w \S+elsewhere$/,
    ],
  ];
  const ofTheirs: typeof ways = [
    ["the cache", (folder) => chownSync(join(folder, "..", ".."), stranger, -1), /uid 65534.*TORCHWIRE_CACHE=\/a\/f/s],
    ["the environment", (folder) => chownSync(folder, stranger, -1), /uid 65534.*Run: chown 0 \S+$/s],
    [
      "its interpreter",
      (folder) => lchownSync(join(folder, "bin/python"), stranger, -1),
      /bin\/python belongs .*uid 65534/,
    ],
    [
      "its marker",
      (folder) => chownSync(join(folder, "torchwire.json"), stranger, -1),
      /Run: chown 0 \S+torchwire.json$/,
    ],
  ];
  /** One that is no link, and notes when it runs. */
  function ownPython(folder: string, mode: number): string {
    const python = join(folder, "bin/python");
    rmSync(python);
    writeFileSync(python, `#!/bin/sh\ntouch '${world.path("ran")}'\nexec '${realPython}' "$@"\n`);
    chmodSync(python, mode);
    return python;
  }
  function whole(): string {
    const folder = pretendManaged();
    mkdirSync(join(folder, "lib/python3.11/site-packages"), { recursive: true });
    writeFileSync(join(folder, "pyvenv.cfg"), "");
    return folder;
  }
  const both = async (act: (folder: string) => void): Promise<string[]> => {
    act(whole());
    const found = [find(), setup({ env: world.env, onProgress: () => undefined })];
    const said = await Promise.all(
      found.map((each) =>
        each.then(
          ({ executable }) => executable,
          (error: unknown) => String(error),
        ),
      ),
    );
    expect(existsSync(world.path("ran"))).toBe(false);
    return said;
  };

  test.for(ways)("of a managed environment: %s", async ([, act, expected]) => {
    const why = expected === undefined ? /^\/.*bin\/python$/ : /^EnvironmentError: others can write \S*/;
    for (const said of await both(act)) for (const each of [why, expected ?? why]) expect(said).toMatch(each);
  });

  where(process.getuid?.() === 0, "it needs root, to give files away")("where they are another user's", () => {
    test.for(ofTheirs)("of a managed environment: %s", async ([, act, expected]) => {
      for (const said of await both(act)) expect(said).toMatch(expected!);
    });

    test("but the interpreter that an environment was made from may be, which the user has chosen", async () => {
      const folder = pretendManaged();
      const base = world.python("theirs/python");
      chownSync(base, stranger, -1);
      chownSync(dirname(base), stranger, -1);
      rmSync(join(folder, "bin/python"));
      symlinkSync(base, join(folder, "bin/python"));
      await expect(find()).rejects.toThrow(/belongs to another user \(uid 65534/);
      finish(folder, { base, version: "3.11.7", installer: "uv" });
      expect(await find()).toMatchObject({ source: "managed" });
    });

    test("a .venv that lies where the program was started is passed over, and counts where it is named", async () => {
      const managed = pretendManaged();
      const folder = world.venv(".venv", needed);
      expect(await find()).toMatchObject({ source: ".venv" });
      chownSync(join(folder, "bin/python"), stranger, -1);
      expect(await find()).toEqual({ executable: join(managed, "bin/python"), source: "managed" });
      rmSync(managed, { recursive: true });
      await expect(find()).rejects.toThrow(
        /\.venv +\S+ does not count, because \S+python belongs to another user \(uid 65534, mode 0755\)[^]*TORCHWIRE_PYTHON=\S+\.venv makes it/,
      );
      expect(await find({ env: { TORCHWIRE_PYTHON: folder } })).toMatchObject({ source: "TORCHWIRE_PYTHON" });
      expect(await find({ env: { VIRTUAL_ENV: folder } })).toMatchObject({ source: "VIRTUAL_ENV" });
    });
  });

  test("a .venv may be its group's, as a shared project's is, but not everybody's", async () => {
    const folder = world.venv(".venv", needed);
    chmodSync(folder, 0o775);
    expect(await find()).toMatchObject({ source: ".venv" });
    chmodSync(folder, 0o777);
    await expect(find()).rejects.toThrow(/\.venv +\S+ does not count, because others can write into \S+\.venv/);
  });
});

function answering(version: string): string {
  return `echo '{"executable": "/it", "version": "${version}", "platform": "linux-x86_64", "missing": []}'`;
}

describe("the base interpreter", () => {
  test("is the first on PATH in the supported range", async () => {
    world.script("bin/python3", answering("3.14.0"));
    world.script("bin/python", answering("2.7.18"));
    world.script("bin/python3.12", answering("3.12.1"));
    expect(await findBase(undefined, world.env)).toMatchObject({ version: "3.12.1" });
  });

  test("if none is in the range, every one found is named", async () => {
    world.script("bin/python3", answering("3.14.0"));
    world.script("bin/python3.10", "echo 'python3.10: command not found' >&2; exit 127");
    await expect(findBase(undefined, world.env)).rejects.toThrow(
      /needs Python 3\.10 to 3\.13\. On PATH:\n.*python3: it is Python 3\.14\.0.*\n.*python3\.10: .*command not found\n/,
    );
    await expect(findBase(undefined, { PATH: "" })).rejects.toThrow(/There is none on PATH/);
    await expect(findBase("/no/python", world.env)).rejects.toThrow(/\/no\/python, is not there or cannot be run/);
  });
});

describe("progress", () => {
  test("redraws one line on a terminal and prints a plain one every ten seconds elsewhere", () => {
    let drawn = "";
    const write = (text: string): void => void (drawn += text);
    const terminal = progressOn({ isTTY: true, columns: 6, write }, {});
    terminal.live("0123456789");
    terminal.line("done");
    expect(drawn).toBe("\r\x1b[2K01234\r\x1b[2Kdone\n");

    const lines: string[] = [];
    const plain = plainProgress((line) => lines.push(line));
    plain.line("start");
    for (let i = 0; i < 100; i++) plain.live("again");
    expect(lines).toEqual(["start"]);
  });
});

describe("the command torchwire", () => {
  test("tells its usage, its version, and misuse with exit code 2", async () => {
    const [help, version, command, option, setupHelp] = await Promise.all(
      [["--help"], ["--version"], ["train"], ["setup", "--fast"], ["setup", "--help"]].map((args) => cli(args)),
    );
    expect(help).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("setup") });
    expect(version).toMatchObject({ exitCode: 0, stdout: packageVersion() });
    expect(command).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("no command train"), stdout: "" });
    expect(option).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--fast"), stdout: "" });
    expect(setupHelp).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("--if-missing") });
  });

  test("says what is wrong without a stack, with exit code 1", async () => {
    const { exitCode, stderr } = await cli(["setup", "--python", "/no/such/python"]);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /^torchwire: the interpreter asked for, \/no\/such\/python, is not there or cannot be run\.\n/,
    );
    expect(stderr).not.toMatch(/\n {4}at /);
    expect(existsSync(world.cache)).toBe(false);
  });

  test("cleans what was left, and says what that freed", async () => {
    const folder = pretendManaged();
    expect(await cli(["setup", "--clean"])).toMatchObject({ exitCode: 0, stderr: "torchwire: 0 removed, 0.0 MB" });
    const { exitCode, stderr } = await cli(["setup", "--clean", "--all"]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 0,
      stderr: expect.stringMatching(/^torchwire: removed .* \(0\.0 MB\)\ntorchwire: 1 removed, 0\.0 MB$/),
    });
    expect(existsSync(folder)).toBe(false);
  });

  test("does and prints nothing with --if-missing where an interpreter is found", async () => {
    const env = { TORCHWIRE_PYTHON: world.python("mine/python") };
    expect(await cli(["setup", "--if-missing"], env)).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
    expect(existsSync(world.cache)).toBe(false);
  });
});

interface Ended {
  exitCode?: number;
  stdout: string;
  stderr: string;
}

/** Runs torchwire's command in this test's world. */
function cli(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return execa(process.execPath, [built("bridge/cli.ts"), ...args], {
    cwd: packageRoot(),
    env: { ...world.env, ...env },
    extendEnv: false,
    reject: false,
  });
}
