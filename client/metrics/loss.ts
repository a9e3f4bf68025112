import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";
import { checkMean, Mean, Metric, statefulMetric, type MeanBy, type Tally } from "./metric.ts";

/** What a phase makes of nothing but its loss. */
abstract class LossMetric implements Metric {
  readonly name: string;
  readonly isFor: Metric["isFor"];
  readonly start: Metric["start"];

  constructor(name: string, start: () => Tally) {
    ({ name: this.name, isFor: this.isFor, start: this.start } = statefulMetric(name, { start }));
  }
}

/**
 * "loss": always the first of the metrics, without being given. The mean over the whole epoch: of its steps' losses, each by what it was divided by
 * (targets that are not ignored, weights of classes, elements), or, where that is not known, by its samples; of sums, over the same. A batch without
 * a target that counts adds nothing, and the value of an epoch of such is NaN, as PyTorch's. With `{ mean: "steps" }` unweighted, as in FluxTraining.
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
      };
    });
  }
}

/**
 * "smoothLoss": a mean of an epoch's losses in which each earlier step weighs `beta` times as much as the next, and in the history of the steps
 * as it goes along:
 *
 *     m(t) = beta · m(t-1) + (1 - beta) · loss(t), m(0) = 0;   smoothLoss(t) = m(t) / (1 - beta^t)
 *
 * The default is FluxTraining's, 0.02, which hardly smooths; 0.98 does, and is fastai's. FluxTraining does not divide.
 */
export class SmoothLoss extends LossMetric {
  /** @throws MISUSE unless 0 <= beta < 1. */
  constructor(beta = 0.02) {
    if (!(beta >= 0 && beta < 1))
      throw new TorchwireError("MISUSE", `new SmoothLoss: beta is ${described(beta)}; it is to be from 0 to below 1`);
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
      };
    });
  }
}
