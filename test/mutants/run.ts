/**
 * `npm run mutants`: makes each change of mutants.ts, one at a time, in a copy of the repository, and runs the test
 * that is to notice it. What no test notices is printed, and the exit code is 1. A word given as argument chooses the
 * mutants whose titles hold it.
 */
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { ensurePython } from "torchwire";
import { testPackages } from "../python-packages.ts";
import { mutants, type Killer, type Mutant } from "./mutants.ts";

/** What hangs is noticed too, if later. */
const MOST_SECONDS = 60;

type Outcome = "passed" | "failed" | "not run";

const root = fileURLToPath(new URL("../..", import.meta.url));
const word = process.argv[2] ?? "";
const chosen = mutants.filter(({ title }) => title.includes(word));
const { executable } = await ensurePython();
const packages = await testPackages();
const copy = await mkdtemp(join(tmpdir(), "torchwire-mutants-"));
const stopped = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopped.abort());

const complaints: string[] = [];
try {
  await copyTo(copy);
  const broken = await unmutated();
  for (const [i, mutant] of chosen.entries()) {
    const start = performance.now();
    const result = await tried(mutant, broken);
    const seconds = Math.round((performance.now() - start) / 1000);
    const { title, test } = mutant;
    const line = `${result.padEnd(8)}  ${i + 1}/${chosen.length}  ${title}  by ${nameOf(test)}  (${seconds} s)`;
    console.log(line);
    if (result !== "killed") complaints.push(`${line}\n    ${mutant.file}: ${mutant.from} -> ${mutant.to}`);
  }
} finally {
  await rm(copy, { recursive: true, force: true });
}
console.log(`\n${chosen.length - complaints.length} of ${chosen.length} mutants killed`);
for (const complaint of complaints) console.log(complaint);
process.exitCode = complaints.length === 0 && chosen.length > 0 ? 0 : 1;

/** Copies the files that git knows or does not ignore, so that the working tree is never touched. */
async function copyTo(folder: string): Promise<void> {
  const { stdout } = await execa("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
  });
  for (const path of stdout.split("\0")) {
    // What was deleted and not committed yet is listed too.
    if (path === "" || !existsSync(join(root, path))) continue;
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await copyFile(join(root, path), join(folder, path));
  }
  await symlink(join(root, "node_modules"), join(folder, "node_modules"), "dir");
}

/**
 * Runs each test once on the source as it is: a test that fails of itself kills nothing. Returns those that do not
 * pass.
 */
async function unmutated(): Promise<ReadonlySet<string>> {
  const broken = new Set<string>();
  const files = new Map<string, Set<string>>();
  for (const { test } of chosen) files.set(test.file, (files.get(test.file) ?? new Set()).add(test.name));
  for (const [i, [file, its]] of [...files].entries()) {
    const names = [...its];
    const outcomes = await outcomesOf(file, names);
    for (const [at, name] of names.entries()) if (outcomes[at] !== "passed") broken.add(nameOf({ file, name }));
    const wrong = names.filter((_, at) => outcomes[at] !== "passed").join(", ");
    console.log(
      `${wrong === "" ? "passed" : "FAILED"}    ${i + 1}/${files.size}  unmutated: ${file}${wrong && ` › ${wrong}`}`,
    );
  }
  return broken;
}

async function tried({ file, from, to, test }: Mutant, broken: ReadonlySet<string>): Promise<string> {
  if (broken.has(nameOf(test))) return "no test";
  const path = join(copy, file);
  const text = await readFile(path, "utf8");
  if (text.split(from).length !== 2) return "stale";
  await writeFile(
    path,
    text.replace(from, () => to),
  );
  try {
    const [outcome] = await outcomesOf(test.file, [test.name]);
    return { passed: "SURVIVED", failed: "killed", "not run": "broken" }[outcome!];
  } finally {
    await writeFile(path, text);
  }
}

function nameOf({ file, name }: Killer): string {
  return `${file} › ${name}`;
}

/** The time of each of these tests. */
function outcomesOf(file: string, names: readonly string[]): Promise<Outcome[]> {
  stopped.signal.throwIfAborted();
  return file.endsWith(".py") ? ofPytest(file, names) : ofVitest(file, names);
}

async function ofVitest(file: string, names: readonly string[]): Promise<Outcome[]> {
  const report = join(copy, "report.json");
  await rm(report, { force: true });
  const escaped = names.map((name) => name.replaceAll(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`));
  await run(join(root, "node_modules", ".bin", "vitest"), [
    "run",
    file,
    "-t",
    `^(?:${escaped.join("|")})`,
    "--reporter=json",
    `--outputFile=${report}`,
    `--testTimeout=${MOST_SECONDS * 1000}`,
    // (A hook may run a whole training in plain PyTorch.)
    `--hookTimeout=${4 * MOST_SECONDS * 1000}`,
  ]);
  if (!existsSync(report)) return names.map(() => "not run");
  const { testResults } = JSON.parse(await readFile(report, "utf8")) as {
    testResults: { assertionResults: { fullName: string; status: string }[] }[];
  };
  const all = testResults.flatMap(({ assertionResults }) => assertionResults);
  return names.map((name) => {
    const own = all.filter(({ fullName }) => fullName.startsWith(name)).map(({ status }) => status);
    return own.includes("failed") ? "failed" : own.includes("passed") ? "passed" : "not run";
  });
}

async function ofPytest(file: string, names: readonly string[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const name of names) {
    const { exitCode } = await run(executable, ["-m", "pytest", "-q", "-p", "no:cacheprovider", file, "-k", name]);
    outcomes.push(exitCode === 0 ? "passed" : exitCode === 1 ? "failed" : "not run");
  }
  return outcomes;
}

function run(program: string, args: readonly string[]): Promise<{ readonly exitCode?: number }> {
  return execa(program, args, {
    cwd: copy,
    reject: false,
    stdio: "ignore",
    timeout: 5 * MOST_SECONDS * 1000,
    cancelSignal: stopped.signal,
    env: { TORCHWIRE_PYTHON: executable, PYTHONPATH: packages, PYTHONDONTWRITEBYTECODE: "1" },
  });
}
