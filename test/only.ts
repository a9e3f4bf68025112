/** Tests that only some machines can run. Elsewhere they are skipped, and their title says why. */
import { suite } from "vitest";

export type Describe = (title: string, body: () => void) => void;

export const where = (can: boolean, why: string): Describe =>
  // oxlint-disable-next-line vitest/no-disabled-tests, vitest/valid-describe-callback
  can ? suite : (title, body) => void suite.skip(`${title} [${why}]`, body);

export const describeOnLinux: Describe = where(process.platform === "linux", "it looks into /proc, which Linux has");

export const describeWithIpc: Describe = where(process.platform !== "win32", "Windows has no ipc sockets");
