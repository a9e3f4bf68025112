import { readdir, readFile } from "node:fs/promises";
import { expect, test } from "vitest";

const folder = new URL("../native/", import.meta.url);
const allowed = new Set(["torch", "torchvision", "numpy", "safetensors"]);
/** The packages, and the files of its user's own, that a baseline is about. */
const packages: Readonly<Record<string, readonly string[]>> = {
  "detector.py": ["torchmetrics"],
  "digit_graphs.py": ["torch_geometric"],
  "languages.py": ["transformers"],
  "lora.py": ["peft", "transformers"],
  "unet.py": ["my_unet"],
  "unet_masks.py": ["my_unet"],
  "vision_transformer.py": ["timm"],
};
const standard = new Set(
  "argparse collections copy ctypes dataclasses fractions gzip hashlib json math pathlib platform re resource struct sys time typing warnings".split(
    " ",
  ),
);

// The baselines prove something only as long as they share no code with what they are compared to.
test("the native baselines import PyTorch, NumPy, safetensors, the standard library and each other, and nothing else", async () => {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".py"));
  const own = new Set(names.map((name) => name.slice(0, -3)));
  expect([...own].toSorted()).toEqual([
    "backend",
    "bench_loop",
    "by_hand",
    "detector",
    "digit_graphs",
    "distillation",
    "gpu_loop",
    "idx",
    "languages",
    "learner",
    "lora",
    "losses",
    "measured",
    "metrics",
    "models",
    "optimizers",
    "policy_gradient",
    "ragged",
    "schedules",
    "shuffle",
    "simclr",
    "structures",
    "train",
    "unet",
    "unet_masks",
    "vision_transformer",
    "web_server",
  ]);
  for (const name of names) {
    const source = await readFile(new URL(name, folder), "utf8");
    const roots = [...source.matchAll(/^\s*(?:import|from)\s+(\w+)/gm)].map(([, root = ""]) => root);
    const foreign = roots.filter(
      (root) => ![allowed, standard, own, new Set(packages[name])].some((known) => known.has(root)),
    );
    expect({ name, foreign }).toEqual({ name, foreign: [] });
    expect(source).not.toMatch(/torchwire_worker|importlib|__import__|sys\.path|runpy|(?<!\.)\b(?:exec|eval)\(/);
  }
});
