import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type ViteUserConfig } from "vitest/config";
import manifest from "./package.json" with { type: "json" };
import { LongestFirst } from "./test/longest-first.ts";

const root = fileURLToPath(new URL(".", import.meta.url));

/** Torch's threads spin and wait for each other, and the tests share few cores. */
const oneThread = { OMP_NUM_THREADS: "1" };

/**
 * One process runs many files, so that they import each module once. A spy would stay for the files that come after.
 */
const shared = { isolate: false, restoreMocks: true };

/** Each entry of the package, from its source. */
const entries = Object.entries(manifest.exports).flatMap(([path, target]) =>
  typeof target === "string"
    ? []
    : [{ find: new RegExp(`^torchwire${path.slice(1)}$`), replacement: join(root, target["torchwire-source"]) }],
);

const config: ViteUserConfig = defineConfig({
  resolve: { alias: entries },
  test: {
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { requireAssertions: true },
    // (Continuous integration tries once more; the end of its output names what needed that.)
    retry: Number(process.env["TORCHWIRE_TEST_RETRY"] ?? 0),
    // One project after the other, two files at a time: CI has two cores.
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    projects: [
      // No Python.
      {
        extends: true,
        test: { name: "pure", include: ["test/pure/**/*.test.ts"], ...shared, sequence: { groupOrder: 0 } },
      },
      // The package and its documents as a whole. Each file has a process of its own.
      {
        extends: true,
        test: {
          name: "house",
          include: ["test/{house,misuse,fuzz}/*.test.ts"],
          env: oneThread,
          sequence: { groupOrder: 1 },
        },
      },
      // The files of one process share a worker too (`warmWorker`).
      {
        extends: true,
        test: {
          name: "warm",
          include: ["test/{client,bridge}/**/*.test.ts"],
          env: oneThread,
          ...shared,
          sequence: { groupOrder: 2 },
        },
      },
      // Processes start and end, links are cut, environments are made, and what hangs is waited for.
      {
        extends: true,
        test: {
          name: "machines",
          include: ["test/machines/*.test.ts"],
          env: oneThread,
          sequence: { groupOrder: 3 },
        },
      },
      // They look at memory or at the clock, or take both cores themselves.
      {
        extends: true,
        test: {
          name: "alone",
          include: ["test/alone/*.test.ts"],
          fileParallelism: false,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});

export default config;
