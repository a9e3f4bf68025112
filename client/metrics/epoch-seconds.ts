import { statefulMetric, type Metric } from "./metric.ts";

/** "seconds": how long an epoch took, by the wall clock. */
export const epochSeconds: Metric = statefulMetric("seconds", {
  start() {
    let started = performance.now();
    const passed = (): number => performance.now() - started;
    return {
      add: () => undefined,
      compute: () => passed() / 1000,
      state: { save: passed, load: (before: number) => void (started = performance.now() - before) },
    };
  },
});
