/** The types of references: programs that must compile, and mistakes that must not, each with its own error. */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isKw, type KwArguments } from "../../bridge/reference/kw.ts";
import { kw } from "torchwire";
import { beforeAll, describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const wrong = join(root, "test/types/wrong");

/** The mistakes: every line that ends in a comment with the code of its error and what is wrong in it. */
const mistakes = readdirSync(wrong)
  .filter((file) => file.endsWith(".ts"))
  .flatMap((file) =>
    readFileSync(join(wrong, file), "utf8")
      .split("\n")
      .flatMap((text, index) => {
        const marker = /\/\/ (TS\d+) (.+)$/.exec(text);
        return marker === null ? [] : [{ file, line: index + 1, code: marker[1]!, what: marker[2]! }];
      }),
  );

/** The errors of one project in the cases and in the declarations, as `file:line code`; elsewhere they are not ours. */
function errorsOf(project: string): Promise<string[]> {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [tsc, "-p", project, "--pretty", "false"], { cwd: root }, (failure, stdout, stderr) => {
      // 1 and 2 are its exit codes for programs with errors; a signal or a crash has none of them.
      if (failure !== null && failure.code !== 1 && failure.code !== 2) {
        return reject(new Error(`tsc failed: ${stderr}`, { cause: failure }));
      }
      resolve(stdout.split("\n").flatMap(described));
    });
  });
}

function described(line: string): string[] {
  if (!/\berror TS\d+: /.test(line)) return [];
  const parts = /^(.+?)\((\d+),\d+\): error (TS\d+): /.exec(line);
  if (parts === null) return [line];
  const [, file, number, code] = parts as unknown as [string, string, string, string];
  return /^(?:test|bridge)\/types\//.test(file) ? [`${basename(file)}:${number} ${code}`] : [];
}

test("right programs compile", async () => {
  expect(await errorsOf("test/types/right")).toEqual([]);
});

describe("mistakes do not compile", () => {
  let errors: string[] = [];
  beforeAll(async () => {
    errors = await errorsOf("test/types/wrong");
  }, 60_000);

  const titled = mistakes.map((mistake) => [`${mistake.code} ${mistake.what} (${mistake.file})`, mistake] as const);
  test.each(titled)("%s", (_title, { file, line, code }) => {
    const here = errors.filter((error) => error.startsWith(`${file}:${line} `));
    expect(here).toEqual([`${file}:${line} ${code}`]);
  });

  test("and nothing else is reported", () => {
    expect(mistakes.length).toBeGreaterThanOrEqual(24);
    const expected = mistakes.map(({ file, line, code }) => `${file}:${line} ${code}`);
    expect(errors.filter((error) => !expected.includes(error))).toEqual([]);
  });
});

describe("kw", () => {
  const valuesOf = (keywords: unknown): unknown => (keywords as KwArguments).values;

  test("is a frozen copy, without what is undefined", () => {
    const options: { lr: number; momentum?: number | undefined; weights: null } = {
      lr: 0.1,
      momentum: undefined,
      weights: null,
    };
    const keywords = kw(options);
    options.lr = 1;
    expect(valuesOf(keywords)).toEqual({ lr: 0.1, weights: null });
    expect(Object.hasOwn(valuesOf(keywords) as object, "momentum")).toBe(false);
    expect(Object.isFrozen(keywords)).toBe(true);
    expect(Object.isFrozen(valuesOf(keywords))).toBe(true);
  });

  test("is known by what it is, not by how it looks", () => {
    expect(isKw(kw({}))).toBe(true);
    for (const other of [{ values: {} }, null, undefined, 3, [], () => undefined]) expect(isKw(other)).toBe(false);
  });

  test("takes plain objects only, and has no name of ours in the way", () => {
    const hostile = JSON.parse('{"__proto__": 1, "constructor": 2}') as object;
    expect(Object.entries(valuesOf(kw(hostile)) as object)).toEqual([
      ["__proto__", 1],
      ["constructor", 2],
    ]);
    for (const other of [[1], new Map(), kw({ lr: 1 }), () => 1, 3 as unknown as object, null as unknown as object]) {
      expect(() => kw(other)).toThrow(/^kw takes an object of names and values/);
    }
  });
});
