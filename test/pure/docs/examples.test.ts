/**
 * The table in docs/examples.md: examples and their counterparts in plain PyTorch, counted.
 * `vitest run test/pure/docs/examples.test.ts -u` writes it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { countPython, countTypeScript, type Counted } from "./counted.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const page = join(root, "docs", "examples.md");

/** What people do with PyTorch, and the example that shows it. */
const shown: Readonly<Record<string, string>> = {
  "a U-Net in a file of one's own": "unet/main.ts",
  "a classifier of text": "languages.ts",
  "adapters of a language model": "lora.ts",
  "rates by layer": "vision-transformer.ts",
  "contrastive learning": "simclr.ts",
  "a detector, with its mAP": "detector.ts",
  "a graph network": "digit-graphs.ts",
  "reinforcement learning": "policy-gradient.ts",
  "a teacher and its student": "distillation.ts",
  "a web server; the counterpart only trains": "web-server.ts",
};

/** The counterpart of each example that has one, which says so in its first line. */
const counterparts = new Map(
  readdirSync(join(root, "test", "native"))
    .filter((name) => name.endsWith(".py"))
    .flatMap((name) => {
      const example = /^"""examples\/(\S+\.ts) in plain /.exec(read(`test/native/${name}`))?.[1];
      return example === undefined ? [] : [[example, name] as const];
    }),
);

function row(what: string, example: string): string {
  const python = counterparts.get(example);
  if (python === undefined)
    throw new Error(`no file in test/native begins with """examples/${example} in plain PyTorch`);
  const { lines, casts, any } = countTypeScript(read(`examples/${example}`));
  const name = example.replace(/(?:\/main)?\.ts$/, "");
  const link = `[${name}](../examples/${example})`;
  const theirs = countPython(read(`test/native/${python}`));
  return `| ${what} | ${link} | ${lines} | [${python}](../test/native/${python}) | ${theirs} | ${casts} | ${any} |`;
}

test("the table has the lines of today", async () => {
  const head = "| | example | lines | plain PyTorch | lines | casts | `any` |\n|---|---|--:|---|--:|--:|--:|";
  const table = [head, ...Object.entries(shown).map(([what, example]) => row(what, example))].join("\n");
  const marked = /(<!-- table: lines -->\n)[^]*?(<!-- end -->)/;
  const text = readFileSync(page, "utf8");
  expect(text).toMatch(marked);
  await expect(text.replace(marked, `$1${table}\n$2`)).toMatchFileSnapshot(page);
});

test("each example that has a counterpart is in the table, and in one of the lists above it", () => {
  expect([...counterparts.keys()].toSorted()).toEqual(Object.values(shown).toSorted());
  expect(counterparts.size).toBeGreaterThanOrEqual(10);
  const lists = read("docs/examples.md").split("<!-- table: lines -->")[0]!;
  expect(Object.values(shown).filter((example) => !lists.includes(`](../examples/${example})`))).toEqual([]);
});

describe("what is counted", () => {
  const counted = (lines: number, casts: number, any: number): Counted => ({ lines, casts, any });
  test.each<[string, Counted]>([
    ["// no code\n\n/* nor\n\n here */\n", counted(0, 0, 0)],
    ["a(); // with a comment\n\n// alone\nb(\n  1, // one\n  // two\n  2,\n);\n", counted(5, 0, 0)],
    ['import * as a from "a";\nimport {\n  b as c,\n} from "b";\nexport { c as d };\n', counted(5, 0, 0)],
    ["const a = [1] as const;\nconst b = a as never as any;\nlet c: any[] = <number[]>b;\n", counted(3, 3, 2)],
    ['const url = "http://x as any"; /* as any */ const r = /"|\\/\\/ as any/;\n', counted(1, 0, 0)],
    ["const t = `// as any\n\n${f(a as any)}\n  of text`;\n", counted(4, 1, 1)],
    ["if (\n  a\n)\n  b();\nelse\n{\n  // nothing\n  d(\n    (e) => {},\n  );\n}\n", counted(10, 0, 0)],
  ])("%j", (source, expected) => {
    expect(countTypeScript(source)).toEqual(expected);
  });

  test("Python's docstrings and comments are none of its lines", () => {
    const source =
      '"""All\n\nof it."""\n\nimport sys  # for nothing\n\n\ndef f(x):\n    """One."""\n    # Two.\n    return """a\n  b"""\n';
    expect(countPython(source)).toBe(4);
  });
});
