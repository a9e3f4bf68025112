import { TorchwireError } from "../../bridge/errors/errors.ts";
import { inner } from "../../bridge/reference/ref.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import { described } from "../options/keywords.ts";
import { checkAxes, inverse, permuted, shapeText } from "./axes.ts";
import type { Format, FormatContext } from "./format.ts";

/** A format that only changes the order of the axes. */
export interface AxesFormat {
  readonly name: string;
  /** Axis `i` in PyTorch is axis `axes[i]` in JavaScript, as in `torch.permute`. */
  readonly axes: readonly number[];
  /** True where the axes are those of a whole batch. Default: false, those of one sample. */
  readonly batched?: boolean;
}

/** A format made of two functions of references. */
export interface FunctionFormat {
  readonly name: string;
  readonly toTorch: (x: AnyRef, how: FormatContext) => PyObject;
  readonly fromTorch: (y: AnyRef, how: FormatContext) => PyObject;
  /** True (default) where the functions take a whole batch. With false they must heed `how.lead`. */
  readonly batched?: boolean;
}

/**
 * Makes a format. `format({ name: "volume", axes: [3, 0, 1, 2] })` is [D, H, W, C] → [C, D, H, W], made contiguous. Two
 * functions make one too, and may use other formats:
 *
 *     format({
 *       name: "signed", // -1 to 1
 *       batched: false,
 *       toTorch: (x, how) => image().toTorch(x, how).mul(2).sub(1),
 *       fromTorch: (y, how) => image().fromTorch(y.add(1).div(2), how),
 *     });
 *
 * Throws MISUSE where the axes are not a permutation. The format throws it where a function does not return a
 * reference.
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
        `${name}: ${side} gave ${described(result)}; it must return a reference, at once`,
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
