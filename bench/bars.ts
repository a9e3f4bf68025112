/** What the project aims at, and whether a machine's figures reach it. */
import type { Group, Results } from "./results.ts";
import type { SectionName } from "./settings.ts";

interface Bar {
  readonly section: SectionName;
  /** What the group's name begins with. */
  readonly group: string;
  /** What the variant's name begins with. */
  readonly variant: string;
  /** The end of the confidence interval of the ratio that is nearer to the aim must reach it. */
  readonly ratio: number;
}

export const bars: readonly Bar[] = [
  { section: "loops", group: "resnet18, batch 64", variant: "torchwire, 3 in flight", ratio: 1 },
  { section: "loops", group: "cnn, batch 256", variant: "torchwire, 3 in flight", ratio: 1.04 },
  { section: "loops", group: "cnn, batch 64", variant: "torchwire, 3 in flight", ratio: 1.03 },
  { section: "loops", group: "cnn, batch 16", variant: "torchwire, 3 in flight", ratio: 1.1 },
  { section: "loops", group: "mlp, batch 8", variant: "torchwire, 3 in flight", ratio: 1.25 },
  { section: "learner", group: "resnet18, batch 64", variant: "learner", ratio: 1.02 },
  { section: "learner", group: "cnn, batch 64", variant: "learner", ratio: 1.02 },
  { section: "roundtrip", group: "one value, awaited", variant: "torchwire", ratio: 1.5 },
  { section: "payload", group: "1.5 MiB", variant: "torchwire, memory that is lent", ratio: 0.85 },
  { section: "payload", group: "16 MiB", variant: "torchwire, memory that is lent", ratio: 0.85 },
];

export interface Judged {
  readonly bar: Bar;
  readonly better: Group["better"];
  readonly median: number;
  readonly interval: readonly [number, number];
  readonly reached: boolean;
}

/** Of each bar whose figures are there. */
export function judge({ sections }: Pick<Results, "sections">): Judged[] {
  return bars.flatMap((bar) => {
    const group = sections[bar.section]?.groups.find(({ name }) => name.startsWith(bar.group));
    const ratio = group?.rows.find(({ variant }) => variant.startsWith(bar.variant))?.ratio;
    if (group === undefined || ratio === undefined || ratio.interval === null) return [];
    const { median, interval } = ratio;
    const reached = group.better === "lower" ? interval[0] <= bar.ratio : interval[1] >= bar.ratio;
    return [{ bar, better: group.better, median, interval, reached }];
  });
}
