/** Packages of a project's own: real pip, offline, with a folder of small wheels for an index. */

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { clean } from "../../bridge/environment/clean.ts";
import { findPython } from "../../bridge/environment/find.ts";
import { site } from "../../bridge/environment/managed.ts";
import { readRequirementsFile } from "../../bridge/environment/requirement.ts";
import { setup, type SetupOptions } from "../../bridge/environment/setup.ts";
import { built } from "../built.ts";
import { finish, newFolder, realPython, World } from "../fixtures/environment/world.ts";

interface Recorded {
  packages: string[];
  versions: Record<string, string>;
}

/** A world whose index has releases, where torchwire pins one of them, with a project. */
class Shop extends World {
  readonly lines: string[] = [];
  readonly app: string = this.project("app");
  readonly options: SetupOptions;

  constructor() {
    super();
    this.seededPython("bin/python3");
    this.env.PIP_FIND_LINKS = this.path("index");
    for (const version of ["1.0", "2.0"]) this.release("pinned", version);
    this.release("alpha", "1.0", "beta>=1.0");
    this.release("beta", "1.0");
    const requirements = this.file("lock.txt", "pinned==1.0\n");
    this.options = { requirements, env: this.env, onProgress: (line) => this.lines.push(line), project: this.app };
  }

  project(name: string, manifest: object = {}): string {
    this.file(`${name}/package.json`, JSON.stringify(manifest));
    return this.path(name);
  }

  setup(options: SetupOptions = {}): Promise<{ executable: string; created: boolean }> {
    return setup({ ...this.options, ...options });
  }

  failure(options: SetupOptions): Promise<string> {
    return this.setup(options).then(
      () => "it succeeded",
      (error: unknown) => String(error),
    );
  }

  recorded(project: string = this.app): Recorded | undefined {
    const file = join(project, "torchwire.packages.json");
    return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Recorded) : undefined;
  }

  environments(): string[] {
    return existsSync(`${this.cache}/environments`) ? readdirSync(`${this.cache}/environments`) : [];
  }
}

/** The versions of modules in an environment; undefined for one that is not there. */
async function versions(python: string, ...modules: string[]): Promise<(string | undefined)[]> {
  const code = `import importlib.util, json, sys
there = lambda name: importlib.import_module(name).version if importlib.util.find_spec(name) else None
import importlib
print(json.dumps([there(name) for name in sys.argv[1:]]))`;
  const { stdout } = await execa(python, ["-I", "-c", code, ...modules]);
  return (JSON.parse(stdout) as (string | null)[]).map((version) => version ?? undefined);
}

const folderOf = (python: string): string => join(python, "../..");

describe("packages that are added", () => {
  let shop: Shop;
  let plain: string;
  let own: string;

  beforeAll(async () => {
    shop = new Shop();
    plain = (await shop.setup()).executable;
    own = (await shop.setup({ add: ["Alpha"] })).executable;
  });
  afterAll(() => shop[Symbol.dispose]());

  test("come into an environment of the project's own, beside what torchwire pins", async () => {
    expect(await versions(own, "alpha", "beta", "pinned")).toEqual(["1.0", "1.0", "1.0"]);
    expect(await versions(plain, "alpha", "beta", "pinned")).toEqual([undefined, undefined, "1.0"]);
    expect(shop.lines.join("\n")).toMatch(
      /making a Python environment with PyTorch and alpha[^]* sharing the files of /,
    );
  });

  test("are recorded beside the project's package.json, with all versions that came of it", () => {
    expect(shop.recorded()).toEqual({ packages: ["alpha"], versions: { alpha: "1.0", beta: "1.0" } });
  });

  test("share the files that were there, and have programs of their own", () => {
    const file = (python: string): string => {
      const lib = join(folderOf(python), "lib");
      return join(lib, readdirSync(lib)[0]!, "site-packages/pinned.py");
    };
    expect(statSync(file(own)).ino).toBe(statSync(file(plain)).ino);
    expect(readFileSync(join(own, "../pip"), "utf8")).toContain(folderOf(own));
  });

  test("are there for programs of this project, wherever in it they start, and for those of no other", async () => {
    mkdirSync(join(shop.app, "src/deep"), { recursive: true });
    const { requirements, env } = shop.options;
    const found = (project: string): Promise<string> =>
      findPython({ requirements, env, cwd: shop.root, project }).then(({ executable }) => executable);
    expect(await found(join(shop.app, "src/deep"))).toBe(own);
    expect(await found(shop.project("other"))).toBe(plain);
    // A project inside of another's folder is not that other's, unless it is a workspace of it.
    expect(await found(shop.project("app/inside"))).toBe(plain);
    shop.project("app", { workspaces: ["inside"] });
    expect(await found(shop.path("app/inside"))).toBe(own);
    shop.project("app");
  });

  test("are not installed twice: the next run starts no process, nor does adding them again", async () => {
    const env = { ...shop.env, PATH: "" };
    for (const add of [[], ["alpha"]])
      expect(await shop.setup({ env, add })).toEqual({ executable: own, created: false });
  });

  test("are shared with another project that wants the very same", async () => {
    const twin = shop.project("twin");
    const file = shop.file(
      "twin/torchwire.packages.json",
      `{"versions": {"beta": "1.0", "alpha": "1.0"}, "packages": ["alpha"]}`,
    );
    expect(await shop.setup({ project: twin })).toEqual({ executable: own, created: false });
    const marker = JSON.parse(readFileSync(join(folderOf(own), "torchwire.json"), "utf8")) as { projects: string[] };
    expect(marker.projects).toEqual([join(shop.app, "torchwire.packages.json"), file]);
  });

  test("are the same on another machine, whatever has come out since", async () => {
    shop.release("alpha", "3.0");
    shop.release("beta", "2.0");
    const { executable, created } = await shop.setup({ cache: shop.path("elsewhere") });
    expect(created).toBe(true);
    expect(await versions(executable, "alpha", "beta", "pinned")).toEqual(["1.0", "1.0", "1.0"]);
    const before = shop.recorded();
    // And the newest where that is asked for.
    const newer = await shop.setup({ upgrade: true, cache: shop.path("elsewhere") });
    expect(await versions(newer.executable, "alpha", "pinned")).toEqual(["3.0", "1.0"]);
    expect(shop.recorded()).toEqual({ packages: ["alpha"], versions: { alpha: "3.0" } });
    writeFileSync(join(shop.app, "torchwire.packages.json"), JSON.stringify(before));
  });
});

describe("packages that cannot be added", () => {
  let shop: Shop;
  let before: string[];
  beforeAll(async () => {
    shop = new Shop();
    shop.release("gamma", "1.0", "pinned>=2.0");
    await shop.setup();
    before = shop.environments();
  });
  afterAll(() => shop[Symbol.dispose]());

  test("because they do not go with what torchwire pins are told in plain words, and change nothing", async () => {
    expect(await shop.failure({ add: ["gamma", "beta"] })).toBe(
      "EnvironmentError: these packages do not go together: torchwire pins pinned==1.0; gamma 1.0 depends on pinned>=2.0. " +
        "torchwire's own keep their versions.",
    );
    expect(await shop.failure({ add: ["pinned==2.0"] })).toMatch(
      /do not go together: (torchwire pins pinned==1\.0; the project asks for pinned==2\.0|the project asks for pinned==2\.0; torchwire pins pinned==1\.0)/,
    );
    expect(shop.environments()).toEqual(before);
    expect(shop.recorded()).toBeUndefined();
  });

  test("because the index has none of that name or release say so", async () => {
    expect(await shop.failure({ add: ["nosuch"] })).toMatch(
      /the package index has no nosuch that can be installed here\./,
    );
    expect(await shop.failure({ add: ["alpha>=7"] })).toMatch(/the package index has no alpha>=7; it has 1\.0\./);
    expect(shop.recorded()).toBeUndefined();
  });

  test("for another reason are quoted, with the command that tries again", async () => {
    shop.file("index/broken-1.0-py3-none-any.whl", "no wheel");
    expect(await shop.failure({ add: ["broken", "beta>=0.5"] })).toMatch(
      /installing the packages failed[^]*broken[^]*Run: npx torchwire add broken 'beta>=0\.5'$/,
    );
  });

  test.for([
    [
      "timm@1.0.9",
      /"timm@1\.0\.9" has npm's form; .* asked for as timm==1\.0\.9\.\nRun: npx torchwire add timm==1\.0\.9$/,
    ],
    ["timm@latest", /Run: npx torchwire add timm$/],
    [
      "sklearn",
      /"sklearn" is not the name of its package, which is scikit-learn\.\nRun: npx torchwire add scikit-learn$/,
    ],
    ["PIL", /which is pillow\./],
    ["./mine", /is a path\. .*NAME @ file:/],
    ["git+https://example.org/x.git", /is an address without a name: write "NAME @ git\+https/],
    ["--index-url=x", /is an option\. Indexes .* are settings of uv and pip/],
    ["alpha\n--index-url x", /asks for no Python package/],
    ["", /asks for no Python package/],
  ] as const)("%s: is told what to write", async ([add, says]) => {
    expect(await shop.failure({ add: [add] })).toMatch(says);
    expect(shop.environments()).toEqual(before);
  });

  test("because every environment has them are left out, which one line says", async () => {
    const { executable } = await shop.setup({ add: ["Pinned"] });
    expect(shop.lines).toContain("torchwire: pinned is in every environment, in the version that torchwire pins");
    expect(await versions(executable, "pinned")).toEqual(["1.0"]);
    expect(shop.recorded()).toBeUndefined();
  });
});

describe("a project's file", () => {
  let shop: Shop;
  beforeEach(() => {
    shop = new Shop();
  });
  afterEach(() => shop[Symbol.dispose]());

  test("that was edited by hand is what counts; versions that it lacks are found and recorded", async () => {
    shop.file("app/torchwire.packages.json", '{ "packages": ["alpha < 2"] }');
    await expect(findPython({ ...shop.options, cwd: shop.root })).rejects.toThrow(
      /none for this version of torchwire with the packages of \S+app\/torchwire\.packages\.json in [^]*Run: npx torchwire setup$/,
    );
    const { executable } = await shop.setup();
    expect(shop.recorded()).toEqual({ packages: ["alpha<2"], versions: { alpha: "1.0", beta: "1.0" } });
    expect(await findPython({ ...shop.options, cwd: shop.root })).toEqual({ executable, source: "managed" });
    // A package that is taken out goes with the next set-up.
    shop.file("app/torchwire.packages.json", '{ "packages": ["beta"], "versions": { "beta": "1.0" } }');
    const less = await shop.setup();
    expect(await versions(less.executable, "alpha", "beta")).toEqual([undefined, "1.0"]);
  });

  test("has versions that give way where a package that is added needs others, but for those asked for", async () => {
    await shop.setup({ add: ["alpha"] });
    shop.release("beta", "2.0");
    shop.release("alpha", "2.0");
    shop.release("delta", "1.0", "beta>=2.0");
    const { executable } = await shop.setup({ add: ["delta"] });
    expect(await versions(executable, "alpha", "beta", "delta", "pinned")).toEqual(["1.0", "2.0", "1.0", "1.0"]);
    expect(shop.recorded()).toEqual({
      packages: ["alpha", "delta"],
      versions: { alpha: "1.0", beta: "2.0", delta: "1.0" },
    });
    expect(shop.lines.join("\n")).toMatch(/those of packages not asked for may change/);
  });

  test("whose versions do not go with what torchwire pins now names the command that finds others", async () => {
    shop.release("gamma", "1.0", "pinned>=2.0");
    shop.release("gamma", "0.9");
    shop.file("app/torchwire.packages.json", '{ "packages": ["gamma"], "versions": { "gamma": "1.0" } }');
    expect(await shop.failure({})).toMatch(/gamma 1\.0 depends on pinned>=2\.0[^]*Run: npx torchwire add --upgrade$/);
    await shop.setup({ upgrade: true });
    expect(shop.recorded()).toEqual({ packages: ["gamma"], versions: { gamma: "0.9" } });
  });

  test.for([
    ["<<<<<<< ours", /torchwire\.packages\.json is not what "npx torchwire add" writes/],
    ['{ "packages": "alpha" }', /is not what/],
    ['{ "packages": ["../alpha"] }', /"\.\.\/alpha" \(in \S+torchwire\.packages\.json\) is a path/],
    ['{ "packages": ["beta"], "versions": { "beta": "1.0\\n--index-url x" } }', /which is no version of a package/],
  ] as const)("that is broken is an error: %s", async ([text, says]) => {
    shop.file("app/torchwire.packages.json", text);
    expect(await shop.failure({})).toMatch(says);
    await expect(findPython({ ...shop.options, cwd: shop.root })).rejects.toThrow(says);
  });

  test("has its environment kept by --clean while it wants it", async () => {
    const { executable } = await shop.setup({ add: ["beta"] });
    const plain = await shop.setup({ project: shop.project("other") });
    const options = { ...shop.options, project: shop.path("other") };
    expect((await clean(options)).removed).toEqual([]);
    shop.file("app/torchwire.packages.json", '{ "packages": ["alpha"], "versions": {} }');
    expect((await clean(options)).removed).toEqual([folderOf(executable)]);
    expect(shop.environments()).toEqual([basename(folderOf(plain.executable))]);
  });
});

describe("a list of requirements", () => {
  test("may include others, have comments and long lines, and be what PowerShell writes", () => {
    using world = new World();
    world.file("more/extra.txt", "timm # images\n");
    const text =
      '# ours\r\n-r more/extra.txt\r\n\r\nTorch_Geometric [Full] == 2.0 \\\r\n    --hash=sha256:00 \\\r\n    --hash=sha256:01\r\neinops ; python_version < "3.14"\r\nmine @ file:///x/mine-1.0.whl\r\n';
    const path = world.path("list.txt");
    const hashed: string[] = [];
    for (const bytes of [Buffer.from(text), Buffer.from(`\ufeff${text}`, "utf16le"), Buffer.from(`\ufeff${text}`)]) {
      writeFileSync(path, bytes);
      const found = readRequirementsFile(path, (file) => hashed.push(file));
      expect(found.map((each) => each.text)).toEqual([
        "timm",
        "torch-geometric[full]==2.0",
        'einops; python_version < "3.14"',
        "mine @ file:///x/mine-1.0.whl",
      ]);
    }
    expect(hashed).toEqual([path, path, path]);
  });
});

describe("the command torchwire", () => {
  let shop: Shop;
  beforeEach(() => {
    shop = new Shop();
  });
  afterEach(() => shop[Symbol.dispose]());
  const cli = (...args: string[]) =>
    execa(process.execPath, [built("bridge/cli.ts"), ...args], {
      cwd: shop.app,
      env: shop.env,
      extendEnv: false,
      reject: false,
    });

  test("add without a name is told its usage", async () => {
    const { exitCode, stderr } = await cli("add");
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^torchwire: add takes the names of packages\n\nUsage: torchwire add PACKAGE…/);
  });

  test("setup --requirements takes what pip's files have, and says of what it does not take where it stands", async () => {
    const lists: Record<string, RegExp> = {
      "--extra-index-url https://example.org/simple\ntimm\n": /list\.txt:1\) is an option/,
      "timm\n-e .\n": /"-e \." \(in \S*list\.txt:2\) is an option/,
      "-r none.txt\n": /list of packages \S+none\.txt cannot be read \(ENOENT\)/,
    };
    for (const [text, says] of Object.entries(lists)) {
      shop.file("app/list.txt", text);
      const { exitCode, stderr } = await cli("setup", "--requirements", "list.txt");
      expect(exitCode).toBe(1);
      expect(stderr).toMatch(says);
    }
    expect(shop.environments()).toEqual([]);
  });
});

describe("a program in a project with packages", () => {
  test("runs its worker in the project's environment", async () => {
    using world = new World();
    world.file("app/package.json", "{}");
    world.file("app/torchwire.packages.json", '{ "packages": ["timm"], "versions": { "timm": "1.0" } }');
    const place = site({ env: world.env, project: world.path("app") });
    const { executable: real } = await findPython();
    for (const mark of ["plain", "packages"]) {
      const folder = newFolder(place);
      mkdirSync(join(folder, "bin"), { recursive: true });
      writeFileSync(join(folder, "bin/python"), `#!/bin/sh\nMARK=${mark} exec '${real}' "$@"\n`, { mode: 0o755 });
      const packages = { packages: ["timm"], versions: { timm: "1.0" } };
      finish(folder, {
        base: realPython,
        version: "3.11.7",
        installer: "uv",
        ...(mark === "plain" ? {} : { packages }),
      });
    }
    const run = async (folder: string): Promise<string> => {
      mkdirSync(world.path(folder), { recursive: true });
      const { TORCHWIRE_PYTHON: _, VIRTUAL_ENV: _venv, ...env } = process.env;
      const { stdout } = await execa(process.execPath, [built("test/fixtures/environment/mark.ts")], {
        cwd: world.path(folder),
        env: { ...env, TORCHWIRE_CACHE: world.cache },
        extendEnv: false,
      });
      return stdout;
    };
    expect(await run("app")).toBe("packages");
    expect(await run("elsewhere")).toBe("plain");
  });
});
