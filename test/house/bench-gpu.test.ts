/** The bench's GPU section: its programs, with tiny batches on the CPU, and the machine on which it measures. */
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { expect, test } from "vitest";
import { openGpu, measureGpu, type GpuCase } from "../../bench/gpu.ts";
import { describeMachine, gpuOf, slugOf } from "../../bench/machine.ts";
import { fill } from "../../bench/pages.ts";
import type { Group, Results } from "../../bench/results.ts";
import type { Surroundings } from "../../bench/section.ts";
import { findPython } from "../../bridge/environment/find.ts";

test.each<GpuCase>([
  { model: "mlp", batch: 4, images: 24, size: 8 },
  { model: "cifar", batch: 4, images: 24, size: 8 },
  { model: "resnet50", batch: 4, images: 24, size: 32 },
])("$model: all sides train the same thing, and each is measured", async (one) => {
  const { executable: python } = await findPython();
  const seen: object[] = [];
  const surroundings = { python, runSeconds: 0, sawVersions: (versions: object) => void seen.push(versions) };
  const opened = await openGpu(one, "cpu", surroundings, 2);
  try {
    const [contest] = opened.contests;
    expect(contest!.facts).toEqual({
      device: "cpu",
      "steps in a run": 2,
      "all sides have the same loss after 5 steps": true,
    });
    expect(contest!.variants.map(({ name }) => name)).toEqual([
      "native",
      "native, each loss read in its step",
      "torchwire",
      "torchwire, each loss looked at before the update",
    ]);
    for (const { run } of contest!.variants) expect((await run())["ms/step"]).toBeGreaterThan(0);
    expect(seen).toHaveLength(1);
  } finally {
    await opened.close();
  }
});

test("a machine without a GPU says so, and measures nothing of it", async ({ skip }) => {
  const { executable: python } = await findPython();
  expect(await measureGpu({ gpu: null } as Surroundings)).toEqual([]);
  if (gpuOf(python) !== null) skip("this machine has a GPU");
  const bench = fileURLToPath(new URL("../../bench/run.ts", import.meta.url));
  const { stdout } = await execa("npx", ["tsx", "--conditions=torchwire-source", bench, "--quick", "--only", "gpu"]);
  expect(stdout).toMatch(/^On a GPU: skipped, because PyTorch finds no CUDA device here$/m);
});

test("a machine goes by its GPU too, where there is one", async () => {
  const { executable: python } = await findPython();
  const gpu = gpuOf(python);
  expect(gpu === null || gpu.length > 0).toBe(true);
  const there = describeMachine("NVIDIA H200");
  expect(there.name).toMatch(/, NVIDIA H200$/);
  expect(slugOf(there)).toBe(`${slugOf(describeMachine())}-nvidia-h200`);
  const group = { name: "mlp", primary: "ms/step", columns: ["ms/step"], rows: [] } as unknown as Group;
  const results = {
    machine: there,
    sections: { gpu: { date: "2026-01-02", versions: {}, groups: [group] } },
  } as unknown as Results;
  expect(fill("<!-- bench: gpu --><!-- end of bench -->", results)).toContain("cores, NVIDIA H200; 2026-01-02");
});
