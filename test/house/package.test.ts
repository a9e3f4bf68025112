/**
 * The package as npm publishes it: packed from a fresh clone, installed into an empty folder, and used there as a user
 * would.
 */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ensurePython } from "torchwire";
import { entries, typesOf } from "../entries.ts";
import { mnistJpegs } from "../jpegs.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
let folder: string;
let clone: string;
/** The empty folder. */
let app: string;
let packed: { readonly filename: string; readonly files: readonly { readonly path: string }[] };
let python: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "package-"));
  python = (await ensurePython()).executable;

  // Without dist/, which may hold what earlier builds left.
  clone = join(folder, "clone");
  await mkdir(clone);
  for (const name of await readdir(root))
    if (![".git", "dist", "node_modules"].includes(name)) await cp(join(root, name), join(clone, name), copying);
  await symlink(join(root, "node_modules"), join(clone, "node_modules"));
  const { stdout } = await execa("npm", ["pack", "--json", "--pack-destination", folder], { cwd: clone });
  // The build's own output comes before it.
  [packed] = JSON.parse(stdout.slice(stdout.indexOf("[\n"))) as [typeof packed];

  app = join(folder, "app");
  await mkdir(app);
  await writeFile(join(app, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
  // Its dependencies are there before, as npm ci put them here: npm finds that they serve, and asks no registry.
  await copyInstalled(({ dev = false }) => !dev);
  await execa("npm", ["install", "--offline", "--ignore-scripts", "--no-audit", join(folder, packed.filename)], {
    cwd: app,
  });
});
afterAll(() => rm(folder, { recursive: true }));

const copying = { recursive: true, filter: (path: string) => !path.includes("__pycache__") };

interface Locked {
  readonly dev?: boolean;
}

/** Copies those packages of node_modules that the lock file has and `which` chooses to the empty folder. */
async function copyInstalled(which: (locked: Locked, path: string) => boolean): Promise<void> {
  const lock = JSON.parse(await readFile(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, Locked>;
  };
  const installed = new Set(await readdir(join(root, "node_modules"), { recursive: true }));
  for (const [path, locked] of Object.entries(lock.packages))
    if (installed.has(relative("node_modules", path)) && which(locked, path))
      await cp(join(root, path), join(app, path), { recursive: true });
}

/** Runs a program in the empty folder; gives what it writes. */
async function run(file: string, args: readonly string[]): Promise<string> {
  const { stdout } = await execa(file, args, {
    cwd: app,
    env: { TORCHWIRE_PYTHON: python, TORCH_HOME: join(folder, "torch"), OMP_NUM_THREADS: "1" },
  });
  return stdout;
}

async function filesIn(directory: string): Promise<string[]> {
  const entries = await readdir(join(clone, directory), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(clone, join(entry.parentPath, entry.name)).replaceAll("\\", "/"));
}

test("it holds what was built of the sources, the worker and the docs; nothing else", async () => {
  const sources = [...(await filesIn("client")), ...(await filesIn("bridge"))];
  const built = sources.flatMap((path) =>
    [".js", ".js.map", ".d.ts", ".d.ts.map"].map((ending) => `dist/${path.replace(/\.ts$/, ending)}`),
  );
  const worker = await filesIn("python/torchwire_worker");
  expect(worker).toContain("python/torchwire_worker/__main__.py");
  const docs = await filesIn("docs");
  expect(docs).toContain("docs/misuse.md");
  expect(packed.files.map(({ path }) => path).toSorted()).toEqual(
    [
      "CHANGELOG.md",
      "LICENSE",
      "README.md",
      "docker/Dockerfile",
      "docker/Dockerfile.dockerignore",
      "docker/compose.yaml",
      "docker/kubernetes.yaml",
      "package.json",
      "python/pyproject.toml",
      "python/requirements.lock",
      ...built,
      ...docs,
      ...worker,
    ].toSorted(),
  );
});

test("its manifest says where it comes from, and that its files must lie in a folder", async () => {
  const installed = join(app, "node_modules", "torchwire");
  const manifest = JSON.parse(await readFile(join(installed, "package.json"), "utf8")) as Record<string, unknown>;
  // Yarn's Plug'n'Play keeps packages as archives otherwise, in which no Python reads.
  expect(manifest["preferUnplugged"]).toBe(true);
  const home = String(manifest["homepage"]).replace(/#readme$/, "");
  expect(new URL(home).protocol).toBe("https:");
  expect(manifest).toMatchObject({ bugs: `${home}/issues`, repository: { type: "git", url: `git+${home}.git` } });
  // Every page that the README links to can be read where it is installed.
  const readme = await readFile(join(installed, "README.md"), "utf8");
  const pages = [...readme.matchAll(/\]\((docs\/[\w-]+\.md)/g)].map(([, page]) => page!);
  expect(pages.length).toBeGreaterThan(10);
  for (const page of pages) expect(await readFile(join(installed, page), "utf8")).toMatch(/^# /);
});

test("it is installed with its command, which says what it can do", async () => {
  expect(await run(join(app, "node_modules", ".bin", "torchwire"), ["--help"])).toContain("setup");
});

test("it works without sharp until an image is to be read", async () => {
  const program = `
    import { imageFolder, spawnWorker } from "torchwire";
    const worker = await spawnWorker();
    console.log(await worker.import("builtins").sum([1, 2]));
    await worker.close();
    await imageFolder(".").catch((error) => console.log(error.message));`;
  expect(await run("node", ["--input-type=module", "--eval", program])).toMatch(/^3\n[^]*npm install sharp$/);
});

test("it reads Parquet; what it lacks for another codec is named", async () => {
  const files = ["none", "lz4"].map((codec) => join(root, "test", "golden", "rows", `${codec}.parquet`));
  const program = `
    import { fromParquet } from "torchwire/data";
    const [none, lz4] = ${JSON.stringify(files)};
    console.log((await (await fromParquet(none)).get(7)).s);
    await fromParquet(lz4).catch((error) => console.log(error.message));`;
  expect(await run("node", ["--input-type=module", "--eval", program])).toMatch(
    /^row 7\n[^]*compressed by LZ4[^]*npm install hyparquet-compressors$/,
  );
});

describe("each entry", () => {
  const specifiers = Object.keys(entries).map((path) => `torchwire${path.slice(1)}`);
  const all = Object.entries(entries).map(([path, entry]) => [path, Object.keys(entry).toSorted()]);
  const shown = `specifiers.map((name, i) => [paths[i], Object.keys(modules[i]).sort()])`;
  const given = `const specifiers = ${JSON.stringify(specifiers)}, paths = ${JSON.stringify(Object.keys(entries))};`;

  test("exports from its build what it exports from its source", async () => {
    const program = `${given} const modules = await Promise.all(specifiers.map((name) => import(name)));
      console.log(JSON.stringify(${shown}));`;
    expect(JSON.parse(await run("node", ["--input-type=module", "--eval", program]))).toEqual(all);
  });

  test("gives the same to require()", async () => {
    const program = `${given} const modules = specifiers.map((name) => require(name));
      console.log(JSON.stringify(${shown}));`;
    await writeFile(join(app, "entries.cjs"), program);
    expect(JSON.parse(await run("node", ["entries.cjs"]))).toEqual(all);
  });

  test("has the types of all its names", async () => {
    await copyInstalled((_, path) => /^node_modules\/(@types\/node|undici-types)$/.test(path));
    const files = await Promise.all(
      Object.entries(entries).map(async ([path, entry], i) => {
        const from = `from ${JSON.stringify(specifiers[i])};`;
        const code = `export { ${Object.keys(entry).join(", ")} } ${from}\nexport type { ${typesOf(path).join(", ")} } ${from}`;
        await writeFile(join(app, `entry-${i}.ts`), code);
        return `entry-${i}.ts`;
      }),
    );
    const compilerOptions = { module: "nodenext", target: "es2022", strict: true, types: ["node"], noEmit: true };
    await writeFile(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
    expect(await run(join(root, "node_modules", ".bin", "tsc"), ["-p", "tsconfig.json"])).toBe("");
  });
});

describe("the code of the README", () => {
  let code: string;
  const output = /\d +training [^]*\d +validation [^]*\n\d: [01]\.\d\d$/;

  beforeAll(async () => {
    const readme = await readFile(join(app, "node_modules", "torchwire", "README.md"), "utf8");
    code = /^```ts\n(.*?)^```/ms.exec(readme)![1]!;
    // The files that it mentions: photos in a folder for each class, and another one.
    const { training, test: others } = await mnistJpegs(join(folder, "digits"), { training: 20, test: 1 });
    await cp(training, join(app, "photos"), { recursive: true });
    await cp(join(others, "7", "00000.jpg"), join(app, "cat.jpg"));
    // npm install sharp; npm install --save-dev @types/node
    await copyInstalled((_, path) => /^node_modules\/(sharp|@img\/.*|semver|@types\/node|undici-types)$/.test(path));
    // The weights, where torch.hub looks before it downloads.
    const save = `import os, sys, torch, torchvision.models as models
os.makedirs(sys.argv[1])
name = os.path.basename(models.ResNet18_Weights.DEFAULT.url)
torch.save(models.resnet18().state_dict(), os.path.join(sys.argv[1], name))`;
    await execa(python, ["-c", save, join(folder, "torch", "hub", "checkpoints")]);
  });

  test("runs under tsx", async () => {
    await writeFile(join(app, "program.ts"), code);
    expect(await run(join(root, "node_modules", ".bin", "tsx"), ["program.ts"])).toMatch(output);
  });

  test("compiles against the package's types, and runs as JavaScript", async () => {
    const compilerOptions = { module: "nodenext", target: "es2022", strict: true, types: ["node"], outDir: "out" };
    await writeFile(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["program.ts"] }));
    await writeFile(join(app, "program.ts"), code);
    expect(await run(join(root, "node_modules", ".bin", "tsc"), ["-p", "tsconfig.json"])).toBe("");
    expect(await run("node", [join("out", "program.js")])).toMatch(output);
  });

  test("runs in a CommonJS module, by require()", async () => {
    const [whole, names] = /^import (\{.*?\}) from "torchwire";$/ms.exec(code)!;
    const body = code.replace(whole, "");
    await writeFile(join(app, "program.cjs"), `const ${names} = require("torchwire");\n(async () => {${body}})();\n`);
    expect(await run("node", ["program.cjs"])).toMatch(output);
  });
});
