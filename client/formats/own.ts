import { TorchwireError } from "../../bridge/errors/errors.ts";
import { inner } from "../../bridge/reference/ref.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import { described } from "../options/keywords.ts";
import { checkAxes, inverse, permuted, shapeText } from "./axes.ts";
import type { Format, FormatContext } from "./format.ts";

/** A format that only changes the order of the axes. */
export interface AxesFormat {
  readonly name: string;
  /** As in `torch.permute`: axis `i` in PyTorch is axis `axes[i]` in JavaScript. */
  readonly axes: readonly number[];
  /** The axes are those of a whole batch. Default false: of one sample. */
  readonly batched?: boolean;
}

/** A format of two functions of references. */
export interface FunctionFormat {
  readonly name: string;
  readonly toTorch: (x: AnyRef, how: FormatContext) => PyObject;
  readonly fromTorch: (y: AnyRef, how: FormatContext) => PyObject;
  /** The functions are written for a whole batch. Default true; with false they heed `how.lead`. */
  readonly batched?: boolean;
}

/**
 * A format of one's own. `format({ name: "volume", axes: [3, 0, 1, 2] })` is [D, H, W, C] → [C, D, H, W], made contiguous.
 * Or two functions, which may use other formats:
 *
 *     format({
 *       name: "signed", // -1 to 1
 *       batched: false,
 *       toTorch: (x, how) => image().toTorch(x, how).mul(2).sub(1),
 *       fromTorch: (y, how) => image().fromTorch(y.add(1).div(2), how),
 *     });
 *
 * Throws MISUSE for axes that are no permutation; the format throws it for a function that gives no reference.
 */
export function format(options: AxesFormat | FunctionFormat): Format {
  return "axes" in options ? ofAxes(options) : ofFunctions(options);
}

function ofAxes({ name, axes, batched = false }: AxesFormat): Format {
  if (axes.toSorted((a, b) => a - b).some((axis, i) => axis !== i))
    throw new TorchwireError(
      "MISUSE",
      `${name}: axes is ${shapeText(axes)}, which is not 0 to ${axes.length - 1} in some order`,
    );
  const names = axes.map((_, i) => `axis ${i}`);
  const back = inverse(axes);
  return {
    name,
    batched,
    toTorch(x, how) {
      checkAxes(name, names, how);
      return permuted(x, axes, how).contiguous();
    },
    fromTorch: (y, how) => permuted(y, back, how).contiguous(),
  };
}

function ofFunctions({ name, toTorch, fromTorch, batched = true }: FunctionFormat): Format {
  const checked = (side: string, result: unknown): AnyRef => {
    if (inner(result) === undefined)
      throw new TorchwireError(
        "MISUSE",
        `${name}: ${side} gave ${described(result)}; it is to give a reference, at once`,
      );
    return result as AnyRef;
  };
  return {
    name,
    batched,
    toTorch: (x, how) => checked("toTorch", toTorch(x, how)),
    fromTorch: (y, how) => checked("fromTorch", fromTorch(y, how)),
  };
}
