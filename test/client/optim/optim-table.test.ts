/** The tables of optimisers and losses are those that the worker's torch gives. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { expect, test } from "vitest";
import { findPython } from "../../../bridge/environment/find.ts";

const path = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

async function made(...flags: string[]): Promise<string> {
  const { executable } = await findPython();
  return (await execa(executable, [path("../../tables/make.py"), ...flags], { stripFinalNewline: false })).stdout;
}

interface Table {
  readonly version: string;
  /** The default of each option, as its docstring says it. */
  readonly rows: { readonly [name: string]: { readonly [option: string]: string } };
}

/** What a table says, read from it. */
function read(text: string): Table {
  const [, version] = /from torch (\S+):/.exec(text)!;
  const rows: { [name: string]: { [option: string]: string } } = {};
  // An interface, and then the constant with its name.
  for (const [, body, name] of text.matchAll(/export interface \w+ \{\n(.*?)^\}.*?^export const (\w+):/gms)) {
    const options = [...body!.matchAll(/PyTorch's default:\s(.*?)\.(?: \*\/|\n +\*\/)\n +readonly (\w+)\?:/gs)];
    rows[name!] = Object.fromEntries(
      options.map(([, value, option]) => [option!, value!.replaceAll(/\s*\*\s*/g, " ").trim()]),
    );
  }
  return { version: version!, rows };
}

const tables = ["optim", "losses"] as const;

test.for(tables)("the table of %s is as it is written from this torch", async (which, { skip }) => {
  const text = await readFile(path(`../../../client/${which}/table.ts`), "utf8");
  const torch = JSON.parse(await made(which, "--json")) as Table;
  skip(
    torch.version !== read(text).version,
    `it was written from torch ${read(text).version}, and this is ${torch.version}`,
  );
  expect(await made(which)).toBe(text);
  expect(read(text).rows).toEqual(torch.rows);
});

test.each(tables)("the table of %s has the defaults of this torch, as far as that has the options", async (which) => {
  const table = read(await readFile(path(`../../../client/${which}/table.ts`), "utf8"));
  const torch = JSON.parse(await made(which, "--json")) as Table;
  const shared = ({ rows }: Table, { rows: others }: Table): string[] =>
    Object.entries(rows).flatMap(([name, options]) =>
      Object.entries(options)
        .filter(([option]) => others[name]?.[option] !== undefined)
        .map(([option, value]) => `${name}.${option}: ${value}`),
    );
  expect(shared(table, torch).length).toBeGreaterThan(40);
  expect(shared(table, torch).toSorted()).toEqual(shared(torch, table).toSorted());
});
