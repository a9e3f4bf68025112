/** A reporter for vitest: at the end, every test that was skipped, and why. */
import type { Reporter, TestModule } from "vitest/node";

export default class Skips implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const file of modules)
      for (const test of file.children.allTests("skipped")) {
        const result = test.result();
        const note = result.state === "skipped" ? result.note : undefined;
        // What a filter leaves out has neither.
        if (note !== undefined) console.log(`skipped: ${file.relativeModuleId} › ${test.fullName} [${note}]`);
        else if (test.fullName.includes("[")) console.log(`skipped: ${file.relativeModuleId} › ${test.fullName}`);
      }
  }
}
