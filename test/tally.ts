/** How many tests passed, failed and were skipped, and why: a reporter for vitest, which writes that to a file. */
import { writeFileSync } from "node:fs";
import type { Reporter, TestCase, TestModule } from "vitest/node";

export interface Tally {
  readonly passed: number;
  readonly failed: number;
  /** A reason for each. */
  readonly skipped: readonly string[];
  /** The titles of those that passed only when they were tried again. */
  readonly flaky: readonly string[];
}

/** Names the file. */
export const TALLY = "TORCHWIRE_TEST_TALLY";

export default class TallyReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const all = modules.flatMap(({ children }) => [...children.allTests()]);
    const count = (state: string): number => all.filter((test) => test.result().state === state).length;
    const skipped = all.flatMap((test) => reasonOf(test) ?? []);
    const flaky = all.filter((test) => test.diagnostic()?.flaky).map((test) => test.fullName);
    const tally: Tally = { passed: count("passed"), failed: count("failed"), skipped, flaky };
    writeFileSync(process.env[TALLY]!, JSON.stringify(tally));
  }
}

/** A test that a filter left out has no reason. */
function reasonOf(test: TestCase): string | undefined {
  const result = test.result();
  if (result.state !== "skipped") return undefined;
  if (result.note !== undefined) return result.note;
  // The title of a suite of only.ts ends with it.
  for (let suite = test.parent; suite.type === "suite"; suite = suite.parent) {
    const [, reason] = /\[([^[\]]+)\]$/.exec(suite.name) ?? [];
    if (reason !== undefined) return reason;
  }
  return undefined;
}
