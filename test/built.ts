/**
 * TypeScript programs of this repository, each as one file of JavaScript with torchwire in it: Node starts that in a
 * quarter of the time that it takes with tsx. A program whose errors must name its lines is run by tsx.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = join(root, "test", "fixtures", "built");
const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly dependencies: object;
  readonly peerDependencies: object;
};
const made = new Map<string, string>();

/** The path of the program that `file` becomes. `file` is a path from the repository's folder. */
export function built(file: string): string {
  const known = made.get(file);
  if (known !== undefined) return known;
  const { outputFiles } = buildSync({
    absWorkingDir: root,
    entryPoints: [file],
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    conditions: ["torchwire-source"],
    external: Object.keys({ ...dependencies, ...peerDependencies }),
    write: false,
  });
  const path = join(folder, `${file.replace(/\.m?ts$/, "").replaceAll("/", "-")}.mjs`);
  mkdirSync(folder, { recursive: true });
  // Another test file may make the same program at the same time.
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, outputFiles[0]!.contents);
  renameSync(draft, path);
  made.set(file, path);
  return path;
}
