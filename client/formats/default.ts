import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isFloating, type NDArray } from "../../bridge/values/ndarray.ts";
import { shapeText } from "./axes.ts";
import { same, type Format } from "./format.ts";
import { image } from "./pixels.ts";

/**
 * The format of a batch for which the user named none. uint8 with four dimensions, the last of them 1, 3 or 4, is
 * images. Floats with four dimensions throw, since they may lie either way. Everything else is `same`.
 *
 * `what` names the array. Throws MISUSE where the user must name the format.
 */
export function defaultFormat({ dtype, shape }: Pick<NDArray, "dtype" | "shape">, what = "input"): Format {
  if (shape.length !== 4) return same;
  if (dtype === "uint8") return [1, 3, 4].includes(shape[3]!) ? image() : same;
  if (isFloating(dtype))
    throw new TorchwireError(
      "MISUSE",
      `${what} is ${dtype} of shape ${shapeText(shape)}, which may be [N, H, W, C] or [N, C, H, W]. Say which it is: ` +
        `"${what}: image({ … })" for the first, "${what}: same" for the second`,
    );
  return same;
}
