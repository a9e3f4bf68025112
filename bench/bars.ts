/** The project's aims, and whether a machine's figures reach them. */
import type { Group, Results } from "./results.ts";
import type { SectionName } from "./settings.ts";

interface Bar {
  /** The comparison, in words. */
  readonly title: string;
  readonly section: SectionName;
  /** The beginning of the group's name. */
  readonly group: string;
  /** The beginning of the variant's name. */
  readonly variant: string;
  readonly ratio: number;
}

/** Within noise: the median misses the aim, but the confidence interval does not rule it out. */
export type Verdict = "reached" | "within noise" | "missed";

export const bars: readonly Bar[] = [
  {
    title: "a Learner's step of ResNet-18, batch 64",
    section: "loops",
    group: "resnet18, batch 64",
    variant: "torchwire, a Learner",
    ratio: 1.02,
  },
  {
    title: "a Learner's step of a small CNN, batch 256",
    section: "loops",
    group: "cnn, batch 256",
    variant: "torchwire, a Learner",
    ratio: 1.02,
  },
  {
    title: "the same, batch 64",
    section: "loops",
    group: "cnn, batch 64",
    variant: "torchwire, a Learner",
    ratio: 1.03,
  },
  {
    title: "the same, batch 16",
    section: "loops",
    group: "cnn, batch 16",
    variant: "torchwire, a Learner",
    ratio: 1.08,
  },
  {
    title: "a Learner's step of a small MLP, batch 8",
    section: "loops",
    group: "mlp, batch 8",
    variant: "torchwire, a Learner",
    ratio: 1.25,
  },
  {
    title: "a learner's step of ResNet-18, against one by hand",
    section: "learner",
    group: "resnet18, batch 64",
    variant: "learner",
    ratio: 1.02,
  },
  {
    title: "the same of the small CNN",
    section: "learner",
    group: "cnn, batch 64",
    variant: "learner",
    ratio: 1.02,
  },
  {
    title: "a step of ResNet-18, with a checkpoint in 60 steps (1.083 is 1 % at every 500)",
    section: "resume",
    group: "resnet18, batch 64",
    variant: "a checkpoint in 60 steps",
    ratio: 1.083,
  },
  {
    title: "one awaited value, against bare ZeroMQ",
    section: "roundtrip",
    group: "one value, awaited",
    variant: "torchwire",
    ratio: 1.4,
  },
  {
    title: "bytes a second, 1.5 MiB each, against bare ZeroMQ",
    section: "payload",
    group: "1.5 MiB",
    variant: "torchwire, memory that is lent",
    ratio: 0.85,
  },
  {
    title: "the same, 16 MiB each",
    section: "payload",
    group: "16 MiB",
    variant: "torchwire, memory that is lent",
    ratio: 0.85,
  },
  {
    title: "a later epoch of kept samples over 20 Mbit/s and 30 ms, against this machine",
    section: "kept",
    group: "resnet18, batch 64",
    variant: "over 20 Mbit/s and 30 ms",
    ratio: 1.05,
  },
  {
    title: "images a second and core, decoded in the worker, against torchvision's DataLoader",
    section: "loading",
    group: "JPEG, 500 × 375 to 224 × 224, against torchvision's DataLoader",
    variant: 'torchwire, decode: "worker"',
    ratio: 1,
  },
  {
    title: "the same, against Pillow",
    section: "loading",
    group: "JPEG, 500 × 375 to 224 × 224, against Pillow",
    variant: 'torchwire, decode: "worker"',
    ratio: 1,
  },
  {
    title: "the same, decoded by sharp, against torchvision's DataLoader",
    section: "loading",
    group: "JPEG, 500 × 375 to 224 × 224, against torchvision's DataLoader",
    variant: "torchwire, decoded by sharp",
    ratio: 1,
  },
];

export interface Judged {
  readonly bar: Bar;
  readonly better: Group["better"];
  readonly median: number;
  readonly interval: readonly [number, number];
  readonly verdict: Verdict;
}

/** Judges each bar whose figures exist. */
export function judge({ sections }: Pick<Results, "sections">): Judged[] {
  return bars.flatMap((bar) => {
    const group = sections[bar.section]?.groups.find(({ name }) => name.startsWith(bar.group));
    const ratio = group?.rows.find(({ variant }) => variant.startsWith(bar.variant))?.ratio;
    if (group === undefined || ratio === undefined || ratio.interval === null) return [];
    const { median, interval } = ratio;
    const { better } = group;
    const meets = (value: number): boolean => (better === "lower" ? value <= bar.ratio : value >= bar.ratio);
    const verdict = meets(median) ? "reached" : interval.some(meets) ? "within noise" : "missed";
    return [{ bar, better, median, interval, verdict }];
  });
}
