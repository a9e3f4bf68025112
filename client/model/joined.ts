/** Joins the outputs of several batches into those of one. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import { isNDArray, joined as joinedPieces, toBytes, type NDArray } from "../../bridge/values/ndarray.ts";
import { memberOf } from "../data/tree.ts";

/** The outputs of a model: an array, or several in the containers that it puts them in. */
export type Outputs =
  | NDArray
  | string
  | number
  | boolean
  | null
  | readonly Outputs[]
  | { readonly [name: string]: Outputs };

/** The outputs of one batch, and its number of samples where JavaScript knows that. */
export interface Chunk {
  readonly outputs: Outputs;
  readonly samples: number | undefined;
  /** The number of samples of an input that is a list: then an output that is a list of as many has one for each. */
  readonly listed?: number | undefined;
}

/** Joins arrays along their first axis, in their containers. Everything else must be the same in all batches. */
export function joined(chunks: readonly Chunk[]): Outputs {
  const [first] = chunks;
  if (first === undefined) return { dtype: "float32", shape: [0], data: new Float32Array(0) };
  if (chunks.every(({ outputs, listed }) => Array.isArray(outputs) && outputs.length === listed))
    return chunks.flatMap(({ outputs }) => outputs as readonly Outputs[]);
  if (chunks.length === 1 && !isNDArray(first.outputs)) return first.outputs;
  return joinedAt("", chunks);
}

function joinedAt(path: string, chunks: readonly Chunk[]): Outputs {
  const each = chunks.map(({ outputs }) => outputs);
  const [first] = each as [Outputs];
  const parts = (pick: (one: any) => Outputs): Chunk[] =>
    chunks.map(({ outputs, samples }) => ({ outputs: pick(outputs), samples }));
  if (each.every(isNDArray)) return joinedArrays(path, each, chunks);
  if (Array.isArray(first) && each.every((one) => Array.isArray(one) && one.length === first.length))
    return first.map((_, i) =>
      joinedAt(
        `${path}[${i}]`,
        parts((one) => one[i]),
      ),
    );
  if (
    each.every(isPlainObject) &&
    each.every((one) => sameKeys(Object.keys(one as object), Object.keys(first as object)))
  )
    return Object.fromEntries(
      Object.keys(first as object).map((key) => [
        key,
        joinedAt(
          memberOf(path, key),
          parts((one) => one[key]),
        ),
      ]),
    );
  // A dict whose keys are not all strings. It is rare, so the type of outputs leaves it out.
  if (isMap(first) && each.every((one) => isMap(one) && sameKeys([...one.keys()], [...first.keys()])))
    return new Map(
      [...first.keys()].map((key) => [
        key,
        joinedAt(
          `${path}[${String(key)}]`,
          parts((one) => one.get(key)),
        ),
      ]),
    ) as unknown as Outputs;
  if (each.every((one) => Object.is(one, first))) return first;
  throw new TorchwireError(
    "MISUSE",
    each.every((one) => typeof one === typeof first && !isContainer(one))
      ? `predict: the model's output${path} is another ${typeof first} for each batch, which make no array: ${SELECT}`
      : `predict: the model gives outputs of one form for some samples and of another for others${path === "" ? "" : ` (output${path})`}, which make no array: predict them one batch at a time`,
  );
}

const SELECT = "pick the outputs of each sample, as in predict(samples, { select: (y) => y.logits })";

const isMap = (value: unknown): value is Map<unknown, unknown> => value instanceof Map;
const isContainer = (value: unknown): boolean => typeof value === "object" && value !== null;

const sameKeys = (some: readonly unknown[], others: readonly unknown[]): boolean =>
  some.length === others.length && some.every((key, i) => key === others[i]);

function joinedArrays(path: string, arrays: readonly NDArray[], chunks: readonly Chunk[]): NDArray {
  const [{ dtype, shape }] = arrays as [NDArray];
  const at = path === "" ? "" : `, in output${path},`;
  const rest = shape.slice(1);
  const told = (one: NDArray): string => `${one.dtype} [${one.shape.slice(1).join(", ")}]`;
  for (const one of arrays)
    if (one.shape.length === 0 || told(one) !== told(arrays[0]!))
      throw new TorchwireError(
        "MISUSE",
        one.shape.length === 0
          ? `predict: the model gives${at} a single number; its outputs must have an axis of samples: ${SELECT}`
          : `predict: the model gives${at} outputs of ${told(arrays[0]!)} for some samples and of ${told(one)} for others, which make no array: predict them one batch at a time`,
      );
  // A state [layers, samples, …] would be joined along its layers.
  for (const [i, { samples }] of arrays.length > 1 ? chunks.entries() : []) {
    const rows = arrays[i]!.shape[0]!;
    if (samples !== undefined && samples > 0 && rows % samples !== 0)
      throw new TorchwireError(
        "MISUSE",
        `predict: the model gives${at} ${rows} rows for a batch of ${samples} samples: batches are joined along the first axis, which must ` +
          "count samples; pick other outputs, or move that axis, as in predict(samples, { select: (y) => y.state.movedim(1, 0) })",
      );
  }
  return joinedPieces(
    dtype,
    [arrays.reduce((sum, one) => sum + one.shape[0]!, 0), ...rest],
    arrays.map(({ data }) => toBytes(data)),
  );
}
