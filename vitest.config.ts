import { fileURLToPath } from "node:url";
import { defineConfig, type ViteUserConfig } from "vitest/config";

const files = (names: readonly string[]): string[] => names.map((name) => `test/${name}.test.ts`);

/** They start processes, cut links and wait for what comes of that. Computing costs them little. */
const machines = files(["apps", "doctor", "life", "remote", "remote-keys", "remote-links", "ssh", "strangers"]);

/** They look at memory or the clock, or take both cores themselves: nothing else runs meanwhile. */
const alone = files(["counts", "lanes", "learner-counts", "limits", "mnist", "parity"]);

const config: ViteUserConfig = defineConfig({
  resolve: { alias: { torchwire: fileURLToPath(new URL("client/index.ts", import.meta.url)) } },
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
          exclude: ["test/fixtures/**", "node_modules/**", ...machines, ...alone],
          env: { OMP_NUM_THREADS: "1" },
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: { name: "machines", include: machines, maxWorkers: 2, sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: { name: "alone", include: alone, fileParallelism: false, sequence: { groupOrder: 2 } },
      },
    ],
  },
});

export default config;
