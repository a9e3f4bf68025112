/** Files of rows for tests. A file that calls these says `afterAll(clean)`, of scratch.ts. And the golden ones with what Python reads in them. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { fresh } from "./scratch.ts";

/** A new file. */
export async function fileOf(name: string, content: string | Uint8Array): Promise<string> {
  const path = await fresh(name);
  await writeFile(path, content);
  return path;
}

/** A new folder with these files, by their paths in it. */
export async function folderOf(contents: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const folder = await fresh("data set");
  await mkdir(folder);
  for (const [name, content] of Object.entries(contents)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  return folder;
}

export const golden = (name: string): string => fileURLToPath(new URL(`golden/rows/${name}`, import.meta.url));

/** What test/golden/rows.py writes: see `plain` there. */
export async function expected(): Promise<Record<string, any>> {
  return JSON.parse(await readFile(golden("rows.json"), "utf8"), (_, value: unknown) => {
    if (typeof value !== "object" || value === null) return value;
    const [[kind, held] = [], ...more] = Object.entries(value);
    if (more.length > 0) return value;
    switch (kind) {
      case "$int":
        return BigInt(held as string);
      case "$float":
        return Number(String(held).replace("inf", "Infinity"));
      case "$bytes":
        return Uint8Array.from(Buffer.from(held as string, "hex"));
      case "$date":
        return new Date(held as number);
      default:
        return value;
    }
  }) as Record<string, any>;
}

/** All rows, in order. */
export async function all<Row>(rows: AsyncIterable<Row>): Promise<Row[]> {
  const found: Row[] = [];
  for await (const row of rows) found.push(row);
  return found;
}
