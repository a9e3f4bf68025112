import { fileURLToPath } from "node:url";
import { defineConfig, type ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = defineConfig({
  resolve: { alias: { torchwire: fileURLToPath(new URL("client/index.ts", import.meta.url)) } },
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/fixtures/**", "node_modules/**"],
    // Real workers import PyTorch, and its threads want the cores for themselves: one file at a time.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    fileParallelism: false,
    expect: { requireAssertions: true },
  },
});

export default config;
