/**
 * `npm test`: sets up Python where needed, then runs every TypeScript and Python test. With arguments, only vitest
 * runs, and gets them.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { ensurePython } from "torchwire";
import { testPackages } from "./python-packages.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const filters = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), "torchwire-test-"));
const { executable } = await ensurePython();
const packages = await testPackages();
const run = execa({
  cwd: root,
  stdio: "inherit",
  reject: false,
  preferLocal: true,
  env: { TORCHWIRE_PYTHON: executable },
});

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

const tallies: Tally[] = [];
try {
  for (const project of ["tsconfig.build.json", "tsconfig.json"]) {
    const { exitCode } = await run("tsc", ["-p", project]);
    if (exitCode !== 0) tallies.push({ passed: 0, failed: 1, skipped: 0 });
  }
  tallies.push(await vitest());
  if (filters.length === 0) tallies.push(await pytest());
} finally {
  await rm(folder, { recursive: true });
}

const sum = (key: keyof Tally): number => tallies.reduce((total, tally) => total + tally[key], 0);
console.log(`${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`);
process.exitCode = sum("failed") === 0 ? 0 : 1;

async function vitest(): Promise<Tally> {
  const outputFile = join(folder, "vitest.json");
  const { exitCode } = await run("vitest", [
    "run",
    "--reporter=default",
    "--reporter=test/skips.ts",
    "--reporter=json",
    `--outputFile=${outputFile}`,
    ...filters,
  ]);
  const report = JSON.parse(await readFile(outputFile, "utf8")) as {
    numPassedTests: number;
    numFailedTests: number;
    numPendingTests: number;
    numTodoTests: number;
  };
  // A file that cannot be loaded, or an unhandled rejection, fails the run without failing a test.
  const failed = report.numFailedTests === 0 && exitCode !== 0 ? 1 : report.numFailedTests;
  return { passed: report.numPassedTests, failed, skipped: report.numPendingTests + report.numTodoTests };
}

async function pytest(): Promise<Tally> {
  const outputFile = join(folder, "pytest.xml");
  const { exitCode } = await run({ env: { PYTHONPATH: packages } })(executable, [
    "-m",
    "pytest",
    "-q",
    "--numprocesses=auto",
    "--dist=loadfile",
    // Prints why a test was skipped.
    "-rs",
    "-p",
    "no:cacheprovider",
    `--junitxml=${outputFile}`,
    "python/tests",
  ]);
  const xml = await readFile(outputFile, "utf8");
  const count = (name: string): number => Number(new RegExp(`<testsuite [^>]*\\b${name}="(\\d+)"`).exec(xml)?.[1] ?? 0);
  const failures = count("failures") + count("errors");
  const failed = failures === 0 && exitCode !== 0 ? 1 : failures;
  return { passed: count("tests") - failures - count("skipped"), failed, skipped: count("skipped") };
}
