import { defineConfig, type ViteUserConfig } from "vitest/config";
import shared from "../../vitest.config.ts";

/** `npm run soak`: tests that take minutes. */
const config: ViteUserConfig = defineConfig({
  resolve: shared.resolve!,
  test: {
    include: ["test/soak/*.soak.ts"],
    testTimeout: 3_600_000,
    hookTimeout: 300_000,
    expect: { requireAssertions: true },
    disableConsoleIntercept: true,
  },
});

export default config;
