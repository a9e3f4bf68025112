/** The code in README.md and docs/ runs as it stands there. */
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ensurePython } from "torchwire";
import { Programs } from "../programs.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** The folder in which the code runs, with the files that it mentions. */
let folder: string;
let programs: Programs;

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
  for (const name of ["my_unet.py", "unet_blocks.py"])
    await copyFile(join(root, "examples/unet", name), join(folder, name));
  await writeFile(join(folder, "labels.json"), JSON.stringify(["cell", "wall", "none"]));
  const penguins = ["Adelie,39.1,18.7", "Adelie,39.5,17.4", "Adelie,NA,NA", "Adelie,40.3,18"];
  const others = ["Gentoo,46.1,13.2", "Gentoo,50,16.3", "Gentoo,48.7,14.1", "Gentoo,46.5,13.5"];
  const table = ["species,bill_length_mm,bill_depth_mm", ...penguins, ...others].join("\n");
  await writeFile(join(folder, "penguins.csv"), table);
  const reviews = [
    { text: "Funny.", stars: 5 },
    { text: "Too long.", stars: 2 },
    { text: "", stars: 3 },
  ];
  await writeFile(join(folder, "reviews.jsonl"), reviews.map((row) => `${JSON.stringify(row)}\n`).join(""));
  await cp(join(root, "test", "golden", "rows", "digits"), join(folder, "digits"), { recursive: true });
  // The weights, where torch.hub looks before it downloads.
  const python = (await ensurePython()).executable;
  const checkpoints = join(folder, "torch", "hub", "checkpoints");
  await mkdir(checkpoints, { recursive: true });
  const save = `import sys, torch, torchvision.models as m
name = m.ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]
torch.save(m.resnet18().state_dict(), sys.argv[1] + "/" + name)`;
  await execa(python, ["-c", save, checkpoints]);
  for (const [page] of pages) await writeFile(fileOf(page), await codeOf(page));
  programs = new Programs({ cwd: folder, env: { TORCH_HOME: join(folder, "torch") } });
}, 60_000);
afterAll(async () => {
  programs[Symbol.dispose]();
  await rm(folder, { recursive: true });
  for (const [page] of pages) await rm(fileOf(page), { force: true });
});

/** The output of each page's code. */
const pages: readonly (readonly [page: string, output: RegExp])[] = [
  [
    "README.md",
    /^( +epoch +phase +loss +accuracy +time\n( +\d +(training|validation)( +\S+){3} s\n){4})(cat|dog): [01]\.\d\d\n$/,
  ],
  ["docs/getting-started.md", /^6\n( +\S.*\n)+completed\ninside\n$/],
  [
    "docs/learner.md",
    /^( +\S.*\n)+completed 3 96\n3 true\nsteps in flight: 3 to 32, as many as make 25 ms of work\ninterrupted\n( +\S.*\n)+epochBegin\n( +\S.*\n)+completed 4\n( +\S.*\n)+(\[ 32, 2 \] int64\n){3}\[ 'cat', 'dog' \] uint8 \[ 32, 32, 3 \]\n2 \[ 'cat', 'dog' \]\n( +\S.*\n)+\[ 1, 32 \] int64 2\ninside 2\n\[ 1, 2 \]\n(.*\n)+195 parameters, 99 of them trainable; .*\n$/,
  ],
  [
    "docs/arrays.md",
    /^\{\n +dtype: 'float32',\n.*\n[^}]*\n\}\nFloat32Array\(2\) \[ 0\.0999755859375, 65504 \] Uint16Array\(1\) \[ 16043 \]\n\{ dtype: 'float32', shape: \[ 2 \], data: Float32Array\(2\) \[ 1, 2 \] \}\n$/,
  ],
  [
    "docs/batches.md",
    /^\[ 16, 20, 8 \] \[ 16, 20 \]\ntrue\n(3 3\n){2}( +\S.*\n)+6\n\[ 15 \] \[ 5 \]\n\[ 40 \] \[ 5 \]\n$/,
  ],
  ["docs/kept.md", /^true true true\n\{ samples: 256, bytes: 51200, cached: 0, hits: 512 \}\n256\n$/],
  ["docs/as-python.md", /^\[\]\ntrue\n$/],
  ["docs/functions.md", /^Float32Array\(3\) \[ 4, -8, 12 \]\n1\n\[ 0\.4 \]\ntrue true\ntrue\n$/],
  [
    "docs/data.md",
    /^8 6 1 \[ 'Adelie', 'Gentoo' \]\n\[ 4, 2 \] int64\n\[ 2, 2 \] int64\n3 \{ text: 'Too long\.', stars: 2 \}\n\[ 'train', 'test' \] \[ 'even', 'odd' \]\nuint8 \[ 6, 4, 4, 3 \]\n6 1\n50 \{ i: 3, square: 9 \}\n1000 100\n$/,
  ],
  [
    "docs/apps.md",
    /^true\nMISUSE\n\[ 64, 1 \]\nBUSY\ninterrupted cancelled by a client\n300 6\n\[ 3, 7 \]\n\{ state: 'idle' \}\n$/,
  ],
  [
    "docs/stopping.md",
    /^( +\S.*\n)+stopped EarlyStopping true\nStop triggered by NumberSinceBest\(2\) stopping criterion\.\ntrue\nDisjunction\(Patience\(3\), Warmup\(GL\(10\.0\), 4\), TimeLimit\(2 hours\)\)\ntrue 0\n5\n$/,
  ],
  [
    "docs/checkpoints.md",
    /^( +\S.*\n)+3 12 checkpoint_epoch_003_validation_loss_\S+\.safetensors\n4 16 checkpoint_epoch_004_validation_loss_\S+\.safetensors\ntrue true\n$/,
  ],
  [
    "docs/callbacks.md",
    /^1 sanity check failed\n {2}the loss of a batch is a number: .*\n( +\S.*\n)+\[ 0, 3, 2 \] 8\n$/,
  ],
  [
    "docs/references.md",
    /^\[PyRef #\d+ Tensor\] -?\d+\.\d+\ndef function\(yhat, target\):\n +# From outside: torch\n +return torch\.nn\.functional\.huber_loss\(yhat, target\)\.mul\(2\)\n\nRuntimeError \S+\.mts:\d+:\d+ \d+\n$/,
  ],
  ["docs/python-files.md", /^<class 'my_unet\.UNet'>\n3\n8 16\n$/],
  [
    "docs/metrics.md",
    /^( +\S.*\n)+\[ 1, 2 \]\n\[ 2, 2 \]\n( +\S.*\n)+\[ 'loss', 'accuracy', 'confidence' \]\n( +\S.*\n)+50\n( +\S.*\n)+\[ 'loss', 'surest', 'worstStep\/loss', 'worstStep\/at' \]\n( +\S.*\n)+true true\n$/,
  ],
  ["docs/optimizers.md", /^( +\S.*\n)+true\n( +\S.*\n)+true\n( +\S.*\n)+true\n$/],
  ["docs/losses.md", /^( +\S.*\n)+13\ntrue\n( +\S.*\n)+true\n0\.2231\n0\.0446\n$/],
  [
    "docs/logging.md",
    /^( +\S.*\n)+\[ 'config\.json', 'metrics\.jsonl' \]\ntorch\.optim\.adamw\.AdamW \{ batches: 20, samples: 400, batchSize: 20 \}\nfitBegin *\n(epoch (training|validation) [12] *\n){4}fitEnd +completed\n( +\S.*\n)+1\n( +\S.*\n)+8 8 true\n$/,
  ],
  ["docs/resume.md", /^( +\S.*\n)+40 0\n40 40 1\n\{ steps: 40, runs: 2 \}\nBest\n$/],
  [
    "docs/schedules.md",
    /^( +\S.*\n)+36\n( +[\d.e-]*│.*\n){6} +└─+\n +1 +120\n0\.01 0\.001 0\.0001\n( +\S.*\n)+0 0\.01\n( +\S.*\n)+0\.0167\nloss by learning rate, \d+ steps, (completed|diverged)\n( +[\d.e-]*│.*\n){12} +└─+\n.*\nsteepest \S+, valley \S+\ntrue\n$/,
  ],
  ["docs/fine-tuning.md", /^( +\S.*\n)+completed 3\n( +\S.*\n)+true\n( +\S.*\n)+lr\/early,lr\/late,lr\/head\n$/],
  [
    "docs/pytorch-backend.md",
    /^( +\S.*\n)+completed\n( +\S.*\n)+3 216\n2 cross_entropy Float32Array\(2\) \[ 0\.666\d+, 2 \]\n\[ 'put_' \]\n$/,
  ],
  [
    "docs/troubleshooting.md",
    /^callback SanityCheck failed .*\n {2}each sample's outputs .* make \[8, 8\] in mse_loss: .*\(\.squeeze\(1\)\)\n.*Target \d is out of bounds.*\ntargets are 1 to 3, .*\nDo the labels begin at 1\? .*\n\{ loss: -?0 \}\n\[ 'loss', 'accuracy' \]\n.*step 2: ValueError: Expected more than 1 value .*\n.*dropLast: true \}\)\.\n2\n0\.55\n0\.00\nstopped StopOnNaNLoss\ncompleted true\nstopped StopOnNaNLoss\ndiverged true\ntrue\n.*does not require grad.*\nNothing that the loss depends on .*\nfalse 0\.\d+ 0\.5\ntrue 1 1\n.*Say which it is: .*\ntrue\nvalidation epoch 1, step 0: RuntimeError: .*Long.*Float.*\nthe validation data has no batches: .*\nstopped true true\nfalse\ntrue\n$/,
  ],
  ["docs/events.md", /^( +\S.*\n)+6 6\n$/],
];

test.each(pages)("%s", async (page, output) => {
  expect(await programs.run(fileOf(page))).toMatch(output);
});

test("the compiler has nothing against any of it", async () => {
  const { stdout } = await execa("tsc", ["-p", "tsconfig.json"], { cwd: root, preferLocal: true, reject: false });
  expect(stdout.split("\n").filter((line) => line.includes("docs-"))).toEqual([]);
});

test("every page with code is here", async () => {
  const found: string[] = [];
  for (const name of await readdir(join(root, "docs")))
    if (name.endsWith(".md") && (await codeOf(`docs/${name}`)) !== "") found.push(`docs/${name}`);
  expect(found.toSorted()).toEqual(
    pages
      .map(([page]) => page)
      .filter((page) => page.startsWith("docs/"))
      .toSorted(),
  );
});

/** In the repository, where "torchwire" is this package. */
function fileOf(page: string): string {
  return join(root, "test", `docs-${basename(page, ".md")}.generated.mts`);
}

async function codeOf(page: string): Promise<string> {
  const text = await readFile(join(root, page), "utf8");
  return [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, block]) => block).join("\n");
}
