import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type ViteUserConfig } from "vitest/config";
import manifest from "./package.json" with { type: "json" };

const root = fileURLToPath(new URL(".", import.meta.url));

const files = (names: readonly string[]): string[] => names.map((name) => `test/${name}.test.ts`);

/** One process runs one of these after the other, so that what it imports and its worker (`warmWorker`) are made once. */
const warm = [
  "test/pure/!(connection).test.ts",
  ...files([
    "arrays",
    "backend",
    "batches",
    "callbacks",
    "contexts",
    "dtypes",
    "early-stopping",
    "endings",
    "fault-proxy",
    "fine-tune",
    "fluxtraining",
    "formats",
    "idx",
    "image-pixels",
    "images",
    "learner",
    "learner-events",
    "learner-misuse",
    "learner-neutral",
    "learner-parity",
    "lend",
    "loader",
    "logging",
    "losses",
    "losses-flux",
    "losses-parity",
    "lr-finder",
    "metrics",
    "metrics-epochs",
    "native",
    "optim",
    "optim-chain",
    "optim-closure",
    "optim-parity",
    "own-phases",
    "predict",
    "properties",
    "proxy-table",
    "references",
    "safetensors",
    "scheduler",
    "schedules",
    "small-callbacks",
    "summary",
    "targets",
    "values",
    "weights",
    "worker-data",
  ]),
];

/** They start processes, cut links and wait for what comes of that. Computing costs them little. */
const machines = files(["apps", "doctor", "life", "remote", "remote-keys", "remote-links", "ssh", "strangers"]);

/** They look at memory or the clock, or take both cores themselves: nothing else runs meanwhile. */
const alone = files(["counts", "lanes", "learner-counts", "limits", "mnist", "parity"]);

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
    projects: [
      {
        extends: true,
        // As many at a time as CI has cores, and each worker on one thread: PyTorch's threads spin, and wait for each other.
        test: {
          name: "together",
          include: ["test/**/*.test.ts"],
          exclude: ["test/fixtures/**", "node_modules/**", ...warm, ...machines, ...alone],
          env: { OMP_NUM_THREADS: "1" },
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "warm",
          include: warm,
          env: { OMP_NUM_THREADS: "1" },
          isolate: false,
          // A spy would stay for the files that come after.
          restoreMocks: true,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: { name: "machines", include: machines, maxWorkers: 2, sequence: { groupOrder: 2 } },
      },
      {
        extends: true,
        test: { name: "alone", include: alone, fileParallelism: false, sequence: { groupOrder: 3 } },
      },
    ],
  },
});

export default config;
