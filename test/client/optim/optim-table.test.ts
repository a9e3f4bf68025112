/** The tables of optimisers and losses are those that the worker's torch gives. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, test } from "vitest";
import { py, type AnyRef, type Worker } from "torchwire";
import { warmWorker } from "../../worker.ts";

const path = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

let worker: Worker;
/** The definitions of make.py. */
let make: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  make = py.keep(worker.import("runpy").run_path(path("../../tables/make.py"))) as AnyRef;
});

/** The result of a function of make.py. */
const made = (name: string, ...args: string[]): Promise<unknown> => py.js(py.at(make, name)(...args));

async function ofTorch(which: string): Promise<Table> {
  const rows = (await made("defaults", which)) as Table["rows"];
  return { version: (await py.js(py.at(make, "VERSION"))) as string, rows };
}

interface Table {
  readonly version: string;
  /** The default of each option, as its docstring says it. */
  readonly rows: { readonly [name: string]: { readonly [option: string]: string } };
}

/** The content of a table. */
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
  const torch = await ofTorch(which);
  skip(
    torch.version !== read(text).version,
    `it was written from torch ${read(text).version}, and this is ${torch.version}`,
  );
  expect(await made("table", which)).toBe(text);
  expect(read(text).rows).toEqual(torch.rows);
});

test.each(tables)("the table of %s has the defaults of this torch, as far as that has the options", async (which) => {
  const table = read(await readFile(path(`../../../client/${which}/table.ts`), "utf8"));
  const torch = await ofTorch(which);
  const shared = ({ rows }: Table, { rows: others }: Table): string[] =>
    Object.entries(rows).flatMap(([name, options]) =>
      Object.entries(options)
        .filter(([option]) => others[name]?.[option] !== undefined)
        .map(([option, value]) => `${name}.${option}: ${value}`),
    );
  expect(shared(table, torch).length).toBeGreaterThan(40);
  expect(shared(table, torch).toSorted()).toEqual(shared(torch, table).toSorted());
});
