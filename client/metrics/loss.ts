import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";
import { checkMean, Mean, Metric, statefulMetric, type MeanBy, type Tally } from "./metric.ts";

/** A metric that needs nothing but the loss of a phase. */
abstract class LossMetric implements Metric {
  readonly name: string;
  readonly isFor: Metric["isFor"];
  readonly start: Metric["start"];

  constructor(name: string, start: () => Tally) {
    ({ name: this.name, isFor: this.isFor, start: this.start } = statefulMetric(name, { start }));
  }
}

/**
 * "loss": always the first of the metrics, without being asked for. It is the mean over the whole epoch: each step's
 * loss weighs as much as its divisor (targets that are not ignored, weights of classes, elements), or, where that is
 * unknown, as its number of samples. Sums are divided by the same. A batch in which no target counts adds nothing, and
 * an epoch of such batches is NaN, as in PyTorch. `{ mean: "steps" }` weighs all steps the same, as FluxTraining does.
 */
export class MeanLoss extends LossMetric {
  constructor({ mean = "samples" }: { readonly mean?: MeanBy } = {}) {
    checkMean("loss", mean);
    super("loss", () => {
      const average = new Mean(mean);
      let isThere = false;
      return {
        add(_, { loss, weighed }) {
          isThere ||= weighed !== undefined;
          if (loss !== undefined) average.add(loss, weighed!.weight, weighed!.total);
          return loss;
        },
        compute: () => average.value ?? (isThere ? NaN : undefined),
        state: {
          save: () => [average.state.save(), isThere],
          load([saved, wasThere]: [unknown, boolean]) {
            average.state.load(saved);
            isThere = wasThere;
          },
        },
      };
    });
  }
}

/**
 * "smoothLoss": a running mean of an epoch's losses, in which each step weighs `beta` times as much as the next one.
 * The history of steps has its value at each step:
 *
 *     m(t) = beta · m(t-1) + (1 - beta) · loss(t), m(0) = 0;   smoothLoss(t) = m(t) / (1 - beta^t)
 *
 * The default is FluxTraining's 0.02, which hardly smooths. fastai uses 0.98, which does. FluxTraining does not divide.
 */
export class SmoothLoss extends LossMetric {
  /** @throws MISUSE unless 0 <= beta < 1. */
  constructor(beta = 0.02) {
    if (!(beta >= 0 && beta < 1))
      throw new TorchwireError(
        "MISUSE",
        `new SmoothLoss: beta is ${described(beta)}; it must be at least 0 and below 1`,
      );
    super("smoothLoss", () => {
      let smooth = 0;
      let weight = 0;
      const value = (): number | undefined => (weight === 0 ? undefined : smooth / weight);
      return {
        add(_, { loss }) {
          if (loss === undefined) return undefined;
          smooth = beta * smooth + (1 - beta) * loss;
          weight = beta * weight + (1 - beta);
          return value();
        },
        compute: value,
        state: {
          save: () => [smooth, weight],
          load: (saved: [number, number]) => void ([smooth, weight] = saved),
        },
      };
    });
  }
}
