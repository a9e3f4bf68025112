/** The entries of the package, by path ("." is the main one), and what each exports. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  exports: { [path: string]: string | { "torchwire-source": string } };
};

/** The file of each entry. */
export const sources: { readonly [path: string]: string } = Object.fromEntries(
  Object.entries(manifest.exports).flatMap(([path, target]) =>
    typeof target === "string" ? [] : [[path, join(root, target["torchwire-source"])]],
  ),
);

/** The values that each entry exports. */
export const entries: { readonly [path: string]: { readonly [name: string]: unknown } } = Object.fromEntries(
  await Promise.all(
    Object.entries(sources).map(async ([path, file]) => [path, await import(pathToFileURL(file).href)] as const),
  ),
);

/** The types that an entry exports. */
export const typesOf = (path: string): string[] =>
  [...exportedBy(sources[path]!)].filter((name) => !(name in entries[path]!)).toSorted();

function exportedBy(file: string): Set<string> {
  const text = readFileSync(file, "utf8");
  const names = new Set<string>();
  for (const [, list] of text.matchAll(/^export (?:type )?\{([^}]*)\}/gm))
    for (const [name] of list!.matchAll(/\w+(?=\s*(?:,|$))/g)) names.add(name);
  for (const [, name] of text.matchAll(/^export (?:interface|type|declare const) (\w+)/gm)) names.add(name!);
  for (const [, from] of text.matchAll(/^export (?:type )?\* from "(.*)"/gm))
    for (const name of exportedBy(join(dirname(file), from!))) names.add(name);
  return names;
}
