/** The pages are kept true: links lead somewhere, each page is in the index, and the paths of the maps exist. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const read = (page: string): string => readFileSync(join(root, page), "utf8");

const docs = readdirSync(join(root, "docs"))
  .filter((name) => name.endsWith(".md"))
  .map((name) => `docs/${name}`);
const pages = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md", ...docs];

/** The targets of `[text](target)`. */
const linksOf = (page: string): string[] =>
  [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target!).filter((target) => !/^\w+:/.test(target));

/** A heading's name in links, as GitHub makes it. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .replaceAll(" ", "-");
const anchorsOf = (page: string): string[] => [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, one]) => anchorOf(one!));

test.each(pages)("the links of %s lead somewhere", (page) => {
  const broken = linksOf(page).filter((target) => {
    const [path, anchor] = target.split("#") as [string, string | undefined];
    const file = path === "" ? page : join(dirname(page), path);
    return !existsSync(join(root, file)) || (anchor !== undefined && !anchorsOf(file).includes(anchor));
  });
  expect(broken).toEqual([]);
});

test("docs/README.md has every page", () => {
  const listed = linksOf("docs/README.md").map((target) => `docs/${target}`);
  expect(listed.toSorted()).toEqual(docs.filter((page) => page !== "docs/README.md").toSorted());
});

/** The folders of client/ and bridge/. */
const rooms = ["client", "bridge"].flatMap((side) =>
  readdirSync(join(root, side), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `${side}/${name}`),
);

/** The paths in a tree of names with two spaces for each level; a description follows two spaces later. */
function pathsInTree(page: string): string[] {
  const [, tree] = /^```\n(client\/.*?)^```/ms.exec(read(page))!;
  const found: string[] = [];
  let top = "";
  for (const line of tree!.trimEnd().split("\n")) {
    const [, indent, names] = /^( *)(\S+(?: {2}[\w/]+\/(?= |$))*)/.exec(line)!;
    if (indent === "") top = names!;
    found.push(...names!.split("  ").map((name) => (indent === "" ? name : top + name)));
  }
  return found;
}

describe.each([
  ["CONTRIBUTING.md", pathsInTree],
  ["docs/architecture.md", (): string[] => []],
])("%s", (page, others) => {
  const inCode = [...read(page).matchAll(/`((?:client|bridge|python|test|docs|docker|bench|examples)\/[\w./-]*)`/g)];
  const named = [...inCode.map(([, path]) => path!), ...others(page)];

  test("names files and folders that exist", () => {
    expect(named.length).toBeGreaterThan(20);
    // docs/NAME.md is a pattern.
    expect(named.filter((path) => !path.includes("NAME") && !existsSync(join(root, path)))).toEqual([]);
  });

  test("names every room of client/ and bridge/", () => {
    expect(rooms.filter((room) => !named.includes(`${room}/`))).toEqual([]);
  });
});
