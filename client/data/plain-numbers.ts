import { TorchwireError } from "../../bridge/errors/errors.ts";
import { viewKind } from "../../bridge/runtime/kinds.ts";
import { bfloat16, float16 } from "../../bridge/values/half.ts";
import { sizeOf, type NDArray } from "../../bridge/values/ndarray.ts";

/** The elements as plain numbers, whatever their dtype. Errors name `what`. */
export function numbersIn({ dtype, shape, data }: NDArray, what: string): ArrayLike<number> {
  if (dtype === "complex64")
    throw new TorchwireError(
      "MISUSE",
      `${what}: complex numbers are not plain numbers; give their parts, or their absolute values`,
    );
  if (data.length !== sizeOf(shape))
    throw new TorchwireError(
      "MISUSE",
      `${what}: ${data.length} elements are not an array of shape [${shape.join(", ")}]`,
    );
  if (dtype === "float16") return float16.toFloat32(data as Uint16Array);
  if (dtype === "bfloat16") return bfloat16.toFloat32(data as Uint16Array);
  return isBig(data) ? Float64Array.from(data, Number) : data;
}

const isBig = (data: NDArray["data"]): data is BigInt64Array => viewKind(data) === "BigInt64Array";
