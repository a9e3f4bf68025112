/**
 * `npm test`: sets up Python where needed, then runs every TypeScript and Python test. With arguments, only vitest
 * runs, and gets them. The last line counts the tests, and says why some were skipped.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { ensurePython } from "torchwire";
import { testPackages } from "./python-packages.ts";
import { TALLY, type Tally } from "./tally.ts";

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

const tallies: Tally[] = [];
try {
  for (const project of ["tsconfig.build.json", "tsconfig.json"]) {
    const { exitCode } = await run("tsc", ["-p", project]);
    if (exitCode !== 0) tallies.push({ passed: 0, failed: 1, skipped: [], flaky: [] });
  }
  tallies.push(await vitest());
  if (filters.length === 0) tallies.push(await pytest());
} finally {
  await rm(folder, { recursive: true });
}

const sum = (key: "passed" | "failed"): number => tallies.reduce((total, tally) => total + tally[key], 0);
const skipped = tallies.flatMap((tally) => tally.skipped);
for (const title of tallies.flatMap((tally) => tally.flaky)) console.log(`passed at the second attempt only: ${title}`);
console.log(`${sum("passed")} passed, ${sum("failed")} failed, ${skipped.length} skipped${reasons()}`);
process.exitCode = sum("failed") === 0 ? 0 : 1;

/** `: 38 (there is no sshd), 3 (this machine has no CUDA device)` */
function reasons(): string {
  const counts = new Map<string, number>();
  for (const reason of skipped) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  const each = [...counts].toSorted(([, a], [, b]) => b - a).map(([reason, count]) => `${count} (${reason})`);
  return each.length === 0 ? "" : `: ${each.join(", ")}`;
}

async function vitest(): Promise<Tally> {
  const outputFile = join(folder, "vitest.json");
  const args = ["run", "--reporter=default", "--reporter=test/tally.ts", ...filters];
  const { exitCode } = await run({ env: { [TALLY]: outputFile } })("vitest", args);
  const tally = JSON.parse(await readFile(outputFile, "utf8")) as Tally;
  // A file that cannot be loaded, or an unhandled rejection, fails the run without failing a test.
  return exitCode === 0 || tally.failed > 0 ? tally : { ...tally, failed: 1 };
}

async function pytest(): Promise<Tally> {
  const outputFile = join(folder, "pytest.xml");
  const { exitCode } = await run({ env: { PYTHONPATH: packages } })(executable, [
    "-m",
    "pytest",
    "-q",
    "--numprocesses=auto",
    "--dist=loadfile",
    "-p",
    "no:cacheprovider",
    `--junitxml=${outputFile}`,
    "python/tests",
  ]);
  const xml = await readFile(outputFile, "utf8");
  const count = (name: string): number => Number(new RegExp(`<testsuite [^>]*\\b${name}="(\\d+)"`).exec(xml)?.[1] ?? 0);
  const failures = count("failures") + count("errors");
  const skipped = [...xml.matchAll(/<skipped [^>]*\bmessage="([^"]*)"/g)].map(([, reason]) => reason!);
  const failed = failures === 0 && exitCode !== 0 ? 1 : failures;
  return { passed: count("tests") - failures - skipped.length, failed, skipped, flaky: [] };
}
