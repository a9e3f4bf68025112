/** The parts of a learner that are functions of references, recorded as Python functions. */
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { isNDArray, type NDArray } from "../../bridge/values/ndarray.ts";
import { pickedBy } from "../data/picked.ts";
import type { Tree } from "../data/tree.ts";
import { defaultFormat } from "../formats/default.ts";
import { ofBatch, same } from "../formats/format.ts";
import { toTargets } from "../losses/spec.ts";
import { weightOf } from "../losses/weight.ts";
import { isOwn } from "../training/forward.ts";
import type { PyTorchBackend } from "../backend/pytorch-backend.ts";
import type { Trainer } from "../training/trainer.ts";
import type { Exported } from "./exported-data.ts";

/** A recorded function, or the reason why there is none. */
type Recorded = { readonly made: AnyRef } | { readonly gap: string };

/** The learner's functions as the script gets them: each by its name, and `NAME_gap` where it has no form. */
export function functionsOf(
  learner: Trainer & { readonly backend: PyTorchBackend },
  like: Exported["like"],
): { readonly [name: string]: unknown } {
  const { worker, loss, output, input, target } = learner;
  const record = (fn: (...args: AnyRef[]) => unknown): Recorded => {
    try {
      return { made: worker.function(fn) };
    } catch (error) {
      return { gap: messageOf(error) };
    }
  };
  const { device, inPython } = learner.backend;
  const channelsLast = inPython.channelsLast ?? false;
  /** Undefined where no array is changed. */
  const onArrays = (
    arrays: Tree<NDArray> | undefined,
    isTarget: boolean,
    convert: (x: AnyRef, array: NDArray) => AnyRef,
  ): Recorded | undefined => {
    if (arrays === undefined) return { gap: "the arrays that it gets are not known" };
    let changes = false;
    const converted = (given: AnyRef, part: Tree<NDArray>): unknown => {
      if (isNDArray(part)) {
        const made = convert(given, part);
        changes ||= made !== given;
        return made;
      }
      const member = (key: string | number, inside: Tree<NDArray>): unknown => converted(py.at(given, key), inside);
      if (Array.isArray(part)) return part.map((inside: Tree<NDArray>, i) => member(i, inside));
      return Object.fromEntries(Object.entries(part).map(([key, inside]) => [key, member(key, inside)]));
    };
    const recorded = record(isTarget ? (y) => converted(y, arrays) : (x) => converted(x, arrays));
    return changes || "gap" in recorded ? recorded : undefined;
  };
  const how = ({ dtype, shape }: NDArray) => ({ worker, device, dtype, shape, channelsLast });
  const inputs = onArrays(like?.xs, false, (x, array) => ofBatch(input ?? defaultFormat(array)).toTorch(x, how(array)));
  const targets = onArrays(like?.ys, true, (y, array) =>
    toTargets(loss, ofBatch(target ?? same).toTorch(y, how(array)), array.dtype),
  );
  const { lossFn } = learner;
  let weigher: unknown = null;
  const lossOf: Recorded = isOwn(loss)
    ? { gap: "the model computes its loss itself (ownLoss), and the script does not know how" }
    : record((yhat: AnyRef, ys: AnyRef) => {
        const made = lossFn(yhat, ys);
        const weight = weightOf({ loss: made });
        if (weight !== undefined && "weigher" in weight) weigher = weight.weigher;
        return made;
      });
  const said = typeof loss === "function" ? loss.weight : undefined;
  const weight =
    typeof said === "function" && "made" in lossOf ? record((yhat: AnyRef, ys: AnyRef) => said(yhat, ys)) : undefined;
  const picked = output && record((yhat: AnyRef) => pickedBy("output", output, yhat));
  const both = (name: string, one: Recorded | undefined): object => ({
    [name]: one !== undefined && "made" in one ? one.made : null,
    [`${name}_gap`]: one !== undefined && "gap" in one ? one.gap : null,
  });
  return {
    ...both("inputs", inputs),
    ...both("targets", targets),
    ...both("loss", lossOf),
    ...both("output", picked),
    ...both("weight", weight),
    weigher,
  };
}
