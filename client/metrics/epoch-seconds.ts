import { statefulMetric, type Metric } from "./metric.ts";

/** "seconds": how long an epoch took, by the wall clock. */
export const epochSeconds: Metric = statefulMetric("seconds", {
  start() {
    const started = performance.now();
    return { add: () => undefined, compute: () => (performance.now() - started) / 1000 };
  },
});
