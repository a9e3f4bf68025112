/** Converts a JavaScript array to the tensor that a model takes. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { lookAfter } from "../../bridge/reference/refused.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { isReference } from "../data/batch.ts";
import type { Values } from "../data/types.ts";
import { defaultFormat } from "./default.ts";
import { ofBatch, type Format } from "./format.ts";

export interface Conversion {
  readonly worker: Worker;
  readonly device: string;
  /** Default: chosen by the array's dtype and shape. */
  readonly format: Format | undefined;
  readonly channelsLast?: boolean;
}

/**
 * Converts `value` to a tensor on the device, in PyTorch's axes, by operations of the batch that is being built. A
 * reference is in PyTorch's axes already and only moves to the device. `path` names the array in errors.
 */
export function toTorch(value: Values, path: string, { worker, device, format, channelsLast }: Conversion): AnyRef {
  const move = (tensor: AnyRef): AnyRef => (device === "cpu" ? tensor : tensor.to(device));
  if (isReference(value)) return move(value as AnyRef);
  if (!isNDArray(value)) {
    lookAfter(value);
    throw new TorchwireError("BAD_DATA", `${path} is neither an array { dtype, shape, data } nor a reference`);
  }
  const { dtype, shape } = value;
  const chosen = ofBatch(format ?? defaultFormat(value, "input"));
  const tensor = move(worker.tensor(value) as unknown as AnyRef);
  return chosen.toTorch(tensor, { worker, dtype, shape, channelsLast: channelsLast ?? false });
}
