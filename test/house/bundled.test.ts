/** A program that a bundler has packed with torchwire in it, deployed to a folder of its own and run from another. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Format } from "esbuild";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ensurePython } from "torchwire";

const root = fileURLToPath(new URL("../..", import.meta.url));
let folder: string;
let python: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bundled-"));
  python = (await ensurePython()).executable;
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(join(root, "node_modules", "zeromq"), join(folder, "node_modules", "zeromq"));
  cpSync(join(root, "python", "torchwire_worker"), join(folder, "torchwire_worker"), { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true }));

async function bundled(file: string, format: Format, workerDir: string): Promise<string> {
  const program = `
    import { spawnWorker } from "torchwire";
    void (async () => {
      const worker = await spawnWorker({ ${workerDir} device: "cpu" });
      console.log(await worker.tensor([1, 2]).sum().item());
      await worker.close();
    })().catch((error) => { console.log(error.code, error.message); });`;
  await build({
    stdin: { contents: program, resolveDir: root },
    alias: { torchwire: join(root, "client", "index.ts") },
    outfile: join(folder, file),
    bundle: true,
    platform: "node",
    format,
    external: ["zeromq", "sharp"],
    logLevel: "error",
    // CommonJS packages in it, such as pino, ask for Node's modules by require().
    banner:
      format === "esm"
        ? {
            js: 'import { createRequire as makeRequire } from "node:module"; const require = makeRequire(import.meta.url);',
          }
        : {},
  });
  const { stdout } = await execa("node", [join(folder, file)], { cwd: tmpdir(), env: { TORCHWIRE_PYTHON: python } });
  return stdout;
}

test.each([
  ["ESM", "main.mjs", "esm", 'workerDir: new URL("torchwire_worker", import.meta.url).pathname,'],
  ["CommonJS", "main.cjs", "cjs", 'workerDir: __dirname + "/torchwire_worker",'],
] as const)("as %s it finds the worker's files by workerDir", async (_, file, format, workerDir) => {
  expect(await bundled(file, format, workerDir)).toBe("3");
});

test.each([
  ["ESM", "lost.mjs", "esm"],
  ["CommonJS", "lost.cjs", "cjs"],
] as const)("as %s without workerDir it is told what to give", async (_, file, format) => {
  expect(await bundled(file, format, "")).toMatch(
    /^ENVIRONMENT torchwire's package\.json was not found above .*give spawnWorker workerDir/,
  );
});

test("a workerDir that is another folder is told what it is to be", async () => {
  expect(await bundled("wrong.mjs", "esm", `workerDir: ${JSON.stringify(folder)},`)).toMatch(
    /^ENVIRONMENT workerDir is .*bundled-\w+, which is not the folder torchwire_worker .*copy node_modules\/torchwire\/python\/torchwire_worker/,
  );
});

test("it still says first where it cannot work", async () => {
  await bundled("checked.mjs", "esm", "");
  const elsewhere = ["--import", "data:text/javascript,globalThis.Bun={}", join(folder, "checked.mjs")];
  const { stderr } = await execa("node", elsewhere, { reject: false });
  expect(stderr).toContain("torchwire does not work in Bun: run it with Node.js");
});
