/** The packages that only the bench installs. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";

const read = async (name: string): Promise<unknown> =>
  JSON.parse(await readFile(new URL(`../../../bench/peers/${name}`, import.meta.url), "utf8"));

interface Lock {
  readonly packages: Readonly<Record<string, { readonly version?: string; readonly dependencies?: object }>>;
}

test("are pinned to one version each, by a lock that names no place to get them from, and are none of torchwire's", async () => {
  const { dependencies } = (await read("package.json")) as { dependencies: Readonly<Record<string, string>> };
  const { packages } = (await read("package-lock.json")) as Lock;
  for (const [name, version] of Object.entries(dependencies)) {
    expect(version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(packages[`node_modules/${name}`]?.version).toBe(version);
  }
  expect(packages[""]?.dependencies).toEqual(dependencies);
  expect(Object.entries(packages).filter(([, one]) => "resolved" in one)).toEqual([]);
  const own = JSON.parse(await readFile(new URL("../../../package-lock.json", import.meta.url), "utf8")) as Lock;
  for (const name of Object.keys(dependencies)) expect(own.packages).not.toHaveProperty([`node_modules/${name}`]);
});
