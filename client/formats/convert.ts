/** Converts a JavaScript array to the tensor that a model takes. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray, type DType } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { isReference, untyped } from "../../bridge/reference/ref.ts";
import { notAnInput } from "../data/batch.ts";
import { type Described, describedArray } from "../kept/described.ts";
import { EncodedImages } from "../data/encoded.ts";
import { ArrayList, isPacked, type Packed } from "../data/list.ts";
import { mapTree } from "../data/tree.ts";
import type { Values } from "../data/types.ts";
import { imagesToTorch } from "./decoded.ts";
import { defaultFormat } from "./default.ts";
import { ofBatch, same, type Format } from "./format.ts";

export interface Conversion {
  readonly worker: Worker;
  readonly device: string;
  /** Default: chosen by the array's dtype and shape. */
  readonly format: Format | undefined;
  readonly channelsLast?: boolean;
  /** The type in which the arrays of a list are needed that come as this one. Default: the same. */
  readonly typed?: (dtype: DType) => DType;
}

/**
 * Converts `value` to a tensor on the device, in PyTorch's axes, by operations of the batch that is being built. A
 * reference is in PyTorch's axes already and only moves to the device, unless it stands for an array of the program's; a
 * list of arrays becomes a list. `path` names the array in errors.
 */
export function toTorch(value: Values, path: string, how: Conversion): AnyRef {
  const { worker, device, format, channelsLast = false } = how;
  const move = (tensor: AnyRef): AnyRef =>
    device === "cpu" ? tensor : (worker.import("torchwire_worker.helpers.batches").to_device(tensor, device) as AnyRef);
  const array = isReference(value) ? describedArray(value) : value;
  if (array === undefined) return move(value as AnyRef);
  if (array instanceof EncodedImages) return imagesToTorch(array, path, how, move);
  if (array instanceof ArrayList) return listToTorch(array, path, how, move);
  if (!isReference(value) && !isNDArray(value)) return notAnInput(value, path);
  const { dtype, shape } = array as Described;
  const chosen = ofBatch(format ?? defaultFormat({ dtype, shape }, "input"));
  const tensor = move(isReference(value) ? value : untyped(worker.tensor(value)));
  return chosen.toTorch(tensor, { worker, dtype, shape, channelsLast });
}

/**
 * A reference to a list in Python. The arrays at one place of the samples go and move to the device as one. A format is
 * that of each array; records of arrays go as they are.
 */
function listToTorch(list: ArrayList, path: string, how: Conversion, move: (tensor: AnyRef) => AnyRef): AnyRef {
  const { worker, format, typed } = how;
  const helpers: AnyRef = worker.import("torchwire_worker.helpers.ragged");
  const tensors = ({ flat, dtype: own, shapes }: Packed): AnyRef => {
    const all = move(isReference(flat) ? flat : untyped(worker.tensor(flat)));
    // A format makes the type that it needs.
    const dtype = isPacked(list.parts) && format !== same ? own : (typed?.(own) ?? own);
    return dtype === own
      ? helpers.split(all, shapes)
      : helpers.split(all, shapes, untyped(worker.import("torch"))[dtype]);
  };
  const parts = isPacked(list.parts)
    ? formatted(tensors(list.parts), list.parts, path, how)
    : mapTree(list.parts, path, isPacked, tensors, (part) => part as never);
  return helpers.rows(parts, list.length);
}

/** A tuple of tensors in PyTorch's axes. */
function formatted(tensors: AnyRef, { dtype, shapes }: Packed, path: string, how: Conversion): AnyRef {
  const { worker, format, channelsLast = false } = how;
  if (format?.batched === true)
    throw new TorchwireError(
      "MISUSE",
      `${path} is a list, and the format ${format.name} takes a whole batch: give the format of one sample`,
    );
  const formats = shapes.map((shape) => format ?? defaultFormat({ dtype, shape: [1, ...shape] }, "input"));
  if (formats.every((one) => one === same)) return tensors;
  const each = shapes.map((shape, i) =>
    formats[i]!.toTorch(py.at(tensors, i), { worker, dtype, shape, lead: 0, channelsLast }),
  );
  return worker.import("builtins").tuple(each) as AnyRef;
}
