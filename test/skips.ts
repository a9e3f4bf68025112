/** A reporter for vitest that lists at the end every skipped test, and the reason. */
import type { Reporter, TestModule } from "vitest/node";

export default class Skips implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const file of modules)
      for (const test of file.children.allTests("skipped")) {
        const result = test.result();
        const note = result.state === "skipped" ? result.note : undefined;
        // Tests that a filter leaves out have no note.
        if (note !== undefined) console.log(`skipped: ${file.relativeModuleId} › ${test.fullName} [${note}]`);
        else if (test.fullName.includes("[")) console.log(`skipped: ${file.relativeModuleId} › ${test.fullName}`);
      }
  }
}
