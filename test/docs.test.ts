/** The code in README.md and docs/ runs as it stands there. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ensurePython } from "torchwire";

const root = fileURLToPath(new URL("..", import.meta.url));
/** Where the code runs: with the files that it speaks of. */
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "docs-"));
  for (const [name, red] of [
    ["cat", 200],
    ["dog", 40],
  ] as const) {
    const photo = (i: number): ReturnType<typeof sharp> =>
      sharp({ create: { width: 60 + i, height: 50, channels: 3, background: { r: red, g: 20 * i, b: 100 } } }).jpeg();
    await mkdir(join(folder, "photos", name), { recursive: true });
    for (let i = 0; i < 8; i++) await photo(i).toFile(join(folder, "photos", name, `${i}.jpg`));
    if (name === "cat") await photo(9).toFile(join(folder, "cat.jpg"));
  }
  // In place of the download, at the place where torch.hub looks first.
  const python = (await ensurePython()).executable;
  const checkpoints = join(folder, "torch", "hub", "checkpoints");
  await mkdir(checkpoints, { recursive: true });
  const save = `import sys, torch, torchvision.models as m
name = m.ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]
torch.save(m.resnet18().state_dict(), sys.argv[1] + "/" + name)`;
  await execa(python, ["-c", save, checkpoints]);
}, 60_000);
afterAll(() => rm(folder, { recursive: true }));

test.each([
  [
    "README.md",
    /^( +epoch +phase +loss +accuracy +time\n( +\d +(training|validation)( +\S+){3} s\n){4})(cat|dog): [01]\.\d\d\n$/,
  ],
  [
    "docs/learner.md",
    /^( +\S.*\n)+completed 3 96\n3 true\nsteps in flight: 3\ninterrupted\n( +\S.*\n)+epochBegin\n( +\S.*\n)+completed 4\n( +\S.*\n)+(\[ 32, 2 \] int64\n){3}\[ 'cat', 'dog' \] uint8 \[ 32, 32, 3 \]\n( +\S.*\n)+inside 2\n\[ 1, 2 \]\n(.*\n)+195 parameters, 99 of them trainable; .*\n$/,
  ],
  [
    "docs/arrays.md",
    /^\{\n +dtype: 'float32',\n.*\n[^}]*\n\}\nFloat32Array\(2\) \[ 0\.0999755859375, 65504 \] Uint16Array\(1\) \[ 16043 \]\n\{ dtype: 'float32', shape: \[ 2 \], data: Float32Array\(2\) \[ 1, 2 \] \}\n$/,
  ],
  ["docs/apps.md", /^true\nMISUSE\n\[ 3, 7 \]\n\{ state: 'idle' \}\n$/],
  ["docs/references.md", /^\[PyRef #\d+ Tensor\] -?\d+\.\d+\nRuntimeError \S+\.mts:\d+:\d+ \d+\n$/],
])("%s", async (page, output) => {
  const text = await readFile(join(root, page), "utf8");
  const code = [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, block]) => block).join("\n");
  // In the repository, where "torchwire" is this package.
  const file = join(root, "test", `docs-${basename(page, ".md")}.generated.mts`);
  await writeFile(file, code);
  try {
    const { stdout } = await execa("tsx", ["--conditions=torchwire-source", file], {
      cwd: folder,
      localDir: root,
      preferLocal: true,
      stripFinalNewline: false,
      env: { TORCH_HOME: join(folder, "torch") },
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
