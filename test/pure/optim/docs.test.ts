/**
 * The tables in docs/optimizers.md and docs/losses.md say what the source says.
 * `vitest run test/pure/optim/docs.test.ts -u` writes them.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import * as exported from "torchwire/flux";
import type { OptimizerSpec } from "torchwire/optim";
import { untyped } from "../../observed.ts";
import { recorded } from "../recorded.ts";

const path = (file: string): string => fileURLToPath(new URL(`../../../${file}`, import.meta.url));

interface Entry {
  readonly name: string;
  /** Its arguments, where it is a function. */
  readonly parameters: string;
  /** Its docstring in one line. */
  readonly said: string;
  /** The text after the name. */
  readonly code: string;
}

/** A file's exports, with their docstrings. */
async function exportsOf(file: string): Promise<Entry[]> {
  const text = await readFile(path(file), "utf8");
  const form =
    /^\/\*\*\s((?:(?!\*\/).)*?)\s*\*\/\nexport (?:const (\w+):|function (\w+)\((.*?)\): \w+ \{)(.*?)(?=^\/\*\*|$(?![^]))/gms;
  return [...text.matchAll(form)].map(([, doc, constant, fn, parameters = "", code]) => ({
    name: (constant ?? fn)!,
    parameters: [...parameters.matchAll(/(\w+)(?::|,| =)[^,]*(?:\[[^\]]*\])?(?:,|$|\n)/g)]
      .map(([, one]) => one!)
      .filter((one) => one !== "options")
      .join(", "),
    said: doc!
      .replaceAll(/(^|\n) \*/g, "")
      .replaceAll(/\s+/g, " ")
      .replace(/\.$/, "")
      .trim(),
    code: code!,
  }));
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => "---"), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`)
    .join("\n");

/** `SGD(lr=0.1)`: what the spec is in Python. */
function inPython(spec: OptimizerSpec): string {
  const operations = recorded((worker) => spec.create(worker, untyped(worker, "net").Net()));
  const [, , , , keywords] = operations.at(-1) as unknown as [
    number,
    number,
    string[],
    unknown[],
    Map<string, unknown>,
  ];
  const given = [...keywords].map(([name, value]) => `${name}=${pythonOf(value)}`);
  return `${spec.name}(${given.join(", ")})`;
}

/** The same text as in bridge/values/value.ts. */
function pythonOf(token: unknown): string {
  if (typeof token === "boolean") return token ? "True" : "False";
  if (!Array.isArray(token)) return String(token);
  const [tag, ...rest] = token as [number, ...unknown[]];
  if (tag === 2) return `(${rest.map(pythonOf).join(", ")})`;
  const bytes = rest[0] as Uint8Array;
  return String(new DataView(bytes.buffer, bytes.byteOffset).getFloat64(0, true));
}

/** The part of a docstring before ": `where.Name`", and that name. */
const split = (said: string, where: string): [string, string] => {
  const [, what, found] = new RegExp(`^(.*): \`${where}\\.(\\w+)\`(.*)$`).exec(said)!;
  return [what!, found!];
};
/** "Flux's `Momentum(η, ρ)`: the same …": the name, and the rest. */
const flux = (said: string): [string, string] => {
  const [, name, rest] = /^Flux's (`[^`]+`(?:, or `\w+`)?)(?::|,| is| in)? (.*)$/.exec(said)!;
  return [name!, rest!];
};

async function optimizers(): Promise<{ [name: string]: string }> {
  const all = (await exportsOf("client/optim/table.ts")).map(({ name, said }) => {
    const [what, cls] = split(said, "torch\\.optim");
    return [`\`${name}\``, `\`${cls}\``, what];
  });
  const aliases = (await exportsOf("client/flux/optimizers.ts")).map(({ name, parameters, said }) => {
    const [theirs, rest] = flux(said);
    const spec = (exported as unknown as { [name: string]: () => OptimizerSpec })[name]!();
    return [theirs, `\`${name}(${parameters})\``, `\`${inPython(spec)}\``, rest];
  });
  const parts = (await exportsOf("client/optim/chain.ts"))
    .filter(({ said }) => said.startsWith("Flux's"))
    .map(({ name, parameters, said }) => {
      const [theirs, rest] = flux(said);
      return [theirs, `\`${name}(${parameters})\``, rest];
    });
  expect([all.length, aliases.length, parts.length]).toEqual([15, 10, 5]);
  return {
    optimizers: table(["here", "`torch.optim`", "what it is"], all),
    aliases: table(["Flux", "here", "with its defaults, in PyTorch", "what differs"], aliases),
    parts: table(["Flux", "here", "what it does"], parts),
  };
}

async function losses(): Promise<{ [name: string]: string }> {
  const all = (await exportsOf("client/losses/table.ts")).map(({ name, said, code }) => {
    const [what, fn] = split(said, "F");
    const targets = /targets: "(\w+)"/.exec(code)![1] === "classes" ? "int64" : "float";
    return [`\`${name}\``, `\`${fn}\``, targets, what];
  });
  const aliases = (await exportsOf("client/flux/losses.ts")).map(({ name, parameters, said }) => {
    const [theirs, rest] = flux(said);
    return [theirs, parameters === "" ? `\`${name}\`` : `\`${name}(${parameters})\``, rest];
  });
  expect(all.length).toBe(21);
  expect(aliases.length).toBe(17);
  return {
    losses: table(["here", "`torch.nn.functional`", "targets", "what it is"], all),
    aliases: table(["Flux", "here", "what it is"], aliases),
  };
}

test.each([
  ["docs/optimizers.md", optimizers],
  ["docs/losses.md", losses],
])("%s", async (page, make) => {
  const tables = await make();
  const text = await readFile(path(page), "utf8");
  const places: string[] = [];
  const expected = text.replaceAll(/(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)/gs, (_, begin, name, _old, end) => {
    places.push(name as string);
    return `${begin as string}${tables[name as string]}\n${end as string}`;
  });
  expect(places.toSorted()).toEqual(Object.keys(tables).toSorted());
  await expect(expected).toMatchFileSnapshot(path(page));
});
