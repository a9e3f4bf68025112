import { defineConfig, mergeConfig, type ViteUserConfig } from "vitest/config";
import shared from "../../vitest.config.ts";

/** Tests that take minutes: `npm run soak`. */
const config: ViteUserConfig = mergeConfig(
  { ...shared, test: { ...shared.test, include: [] } },
  defineConfig({ test: { include: ["test/soak/*.soak.ts"], testTimeout: 3_600_000, disableConsoleIntercept: true } }),
);

export default config;
