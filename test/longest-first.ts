/** The order in which a test run begins its files. */
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * Small files that take long. vitest begins with the largest files, where it has not seen how long they take; what takes
 * long and begins last leaves the other core idle.
 */
const LONG: readonly string[] = [
  "house/docs",
  "house/examples-vision",
  "house/examples-ragged",
  "house/examples-language",
  "house/python-types",
  "house/bench-gpu",
  "fuzz/fuzz",
  "client/as-python/to-python",
  "client/learner/learner-parity",
  "client/resume/resume",
  "machines/faults",
  "machines/remote-faults",
  "machines/remote-hosts",
  "machines/kept",
  "machines/module",
  "machines/hanging",
].map((name) => `/test/${name}.test.ts`);

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const found = LONG.findIndex((end) => moduleId.endsWith(end));
      return found === -1 ? LONG.length : found;
    };
    // (It is vitest's own method.)
    // oxlint-disable-next-line unicorn/no-array-sort
    return (await super.sort(files)).toSorted((a, b) => place(a) - place(b));
  }
}
