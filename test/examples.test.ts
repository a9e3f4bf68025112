/** The examples show what they say, with fewer images than they would like to have. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { kw, py, type Worker } from "torchwire";
import { mnistJpegs } from "./jpegs.ts";
import { testPackages } from "./python-packages.ts";
import { weightsHash } from "./training.ts";
import { testWorker } from "./worker.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
let folder: string;
/** 400 digits as JPEG files, in a folder per digit. */
let jpegs: string;
/** Takes the place of torch's cache of downloads, with weights for ResNet-18 in it. */
let torchHome: string;
let worker: Worker;
let savedHash: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "examples-"));
  ({ training: jpegs } = await mnistJpegs(join(folder, "digits"), { training: 400, test: 0 }));
  torchHome = join(folder, "torch");
  worker = await testWorker({ env: { TORCH_HOME: torchHome, ...offline } });
  const { models } = worker.import("torchvision");
  const url = (await py.js(py.get(models.ResNet18_Weights.DEFAULT, "url"))) as string;
  const file = join(torchHome, "hub", "checkpoints", url.split("/").at(-1)!);
  await mkdir(join(file, ".."), { recursive: true });
  const saved = models.resnet18();
  savedHash = await weightsHash(worker, saved);
  await py.settle(worker.import("torch").save(saved.state_dict(), file));
});
afterAll(async () => {
  await worker.close();
  await rm(folder, { recursive: true });
});

/** What would be downloaded is looked for on a port where nobody listens. */
const nowhere = "http://127.0.0.1:9";
const offline = { http_proxy: nowhere, https_proxy: nowhere, HTTP_PROXY: nowhere, HTTPS_PROXY: nowhere };

test("by-hand: the loop without a learner learns, too", async () => {
  const stdout = await run("by-hand", ["640"]);
  const [, loss, accuracy] = /│ 0\s+│ 1\s+│ ([\d.]+)\s+│ ([\d.]+)\s+│/.exec(stdout)!.map(Number);
  // Chance is 2.3, and 0.1.
  expect(loss).toBeLessThan(1.8);
  expect(accuracy).toBeGreaterThan(0.25);
});

async function run(example: string, args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await execa("tsx", ["--conditions=torchwire-source", join("examples", `${example}.ts`), ...args], {
    cwd: root,
    preferLocal: true,
    env: { OMP_NUM_THREADS: "1", TORCH_HOME: torchHome, ...offline, ...env },
  });
  return stdout;
}

/** The numbers of the printed table, by phase, epoch by epoch: `{ training: [{ loss, … }, …] }`. */
function table(stdout: string): Record<string, Record<string, number>[]> {
  let names: string[] = [];
  const phases: Record<string, Record<string, number>[]> = {};
  for (const line of stdout.split("\n")) {
    const cells = line.trim().split(/ {2,}/);
    if (cells[0] === "epoch") names = cells;
    else if (names.length > 0 && cells.length === names.length && /^\d+$/.test(cells[0]!)) {
      const { phase, ...numbers } = Object.fromEntries(names.map((name, i) => [name, cells[i]!]));
      const row = Object.fromEntries(Object.entries(numbers).map(([name, text]) => [name, Number.parseFloat(text)]));
      (phases[phase!] ??= []).push(row);
    }
  }
  return phases;
}

/** How dark the pictures are in the middle and along the upper and lower edge, of ten shades. */
function ink(pictures: string): { middle: number; edge: number } {
  const lines = pictures.split("\n").filter((line) => line.length > 0);
  expect(lines).toHaveLength(14);
  const of = (some: readonly string[], from: number, to: number): number => {
    const shades = some
      .flatMap((line) => Array.from({ length: 5 }, (_, i) => line.slice(29 * i + from, 29 * i + to)))
      .flatMap((part) => part.split("").map((character) => " .:-=+*#%@".indexOf(character)));
    return shades.reduce((sum, shade) => sum + shade, 0) / shades.length;
  };
  return { middle: of(lines.slice(4, 10), 9, 19), edge: of([lines[0]!, lines[13]!], 0, 28) };
}

test("torchvision's weights: DEFAULT are those of the file in torch's cache", async () => {
  const { models } = worker.import("torchvision");
  const loaded = models.resnet18(kw({ weights: "DEFAULT" }));
  expect(await weightsHash(worker, loaded)).toBe(savedHash);
  expect(await weightsHash(worker, models.resnet18())).not.toBe(savedHash);
});

test("a download that is not there fails here: no test has the network", async () => {
  const { models } = worker.import("torchvision");
  await expect(py.settle(models.resnet34(kw({ weights: "DEFAULT" })))).rejects.toThrow(/URLError|refused/);
});

test("ancestor: the README of PyTorchTraining.jl", async () => {
  const stdout = await run("ancestor", [jpegs, "--size", "32", "--batch-size", "32", "--epochs", "3"]);
  const { training, validation } = table(stdout);
  expect(training).toHaveLength(3);
  expect(validation).toHaveLength(3);
  expect(training![2]!["loss"]).toBeLessThan(training![0]!["loss"]!);
});

test("vae: both parts of the loss are learnt, and the decoder draws", async () => {
  const stdout = await run("vae", ["--epochs", "3", "--samples", "3000", "--test-samples", "500"]);
  const { training, validation } = table(stdout);
  expect(validation!.map(({ loss }) => loss)).toEqual(validation!.map(({ loss }) => loss).toSorted((a, b) => b! - a!));
  // 28 · 28 · ln 2 is the loss of pixels that are all grey.
  expect(validation![2]!["loss"]).toBeLessThan(0.4 * 28 * 28 * Math.LN2);
  // With no information in the code it is 0.
  expect(training![2]!["kl"]).toBeGreaterThan(3);
  const { middle, edge } = ink(stdout.slice(stdout.indexOf("\n\n")));
  expect(middle).toBeGreaterThan(2);
  expect(edge).toBeLessThan(1);
});

test("gan: two models and two optimizers in one step", async () => {
  const stdout = await run("gan", ["--epochs", "5", "--samples", "3200"]);
  const { training } = table(stdout);
  expect(training).toHaveLength(5);
  for (const row of training!) expect(Object.keys(row)).toEqual(["epoch", "loss", "generator", "time"]);
  const [before, after] = stdout.split(/before:\n|\n {5}epoch [^]*after:\n/).slice(1);
  const [noise, digits] = [ink(before!), ink(after!)];
  expect(Math.abs(noise.middle - noise.edge)).toBeLessThan(0.5);
  expect(digits.middle).toBeGreaterThan(digits.edge + 1);
});

test("finetune-digits: it beats training from scratch at equal steps", async () => {
  const stdout = await run("finetune-digits", ["--samples", "6000", "--test-samples", "1000"]);
  const [tuned, scratch] = /fine-tuned ([\d.]+) %, from scratch ([\d.]+) %/.exec(stdout)!.slice(1).map(Number);
  expect(tuned).toBeGreaterThan(85);
  expect(tuned).toBeGreaterThan(scratch! + 5);
});

test("efficientnet: weights from ImageNet, fine-tuned on images in folders", async () => {
  const packages = await testPackages();
  const stdout = await run("efficientnet", [jpegs, "--size", "64", "--epochs", "4", "--batch-size", "16"], {
    PYTHONPATH: packages,
  });
  const { validation } = table(stdout);
  expect(validation!.at(-1)!["accuracy"]).toBeGreaterThan(0.6);
  expect(stdout).toMatch(/jpg shows \d, by \d+\.\d %$/);
});
