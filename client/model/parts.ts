/** Takes the outputs of several requests apart that ran as one batch. */
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import { isNDArray, type NDArray } from "../../bridge/values/ndarray.ts";
import { memberOf } from "../data/tree.ts";
import type { Outputs } from "./joined.ts";

/**
 * The form of outputs whose arrays have a row for each of `rows` samples: all but that number. Undefined where one has
 * not, and where a number or a text stands for the whole batch.
 */
export function formOf(outputs: unknown, rows: number, path = ""): string | undefined {
  if (outputs === null) return `${path} null`;
  if (isNDArray(outputs)) {
    const { dtype, shape } = outputs;
    return shape[0] === rows ? `${path} ${dtype}[${shape.slice(1).join()}]` : undefined;
  }
  const members = membersOf(outputs)?.map(([name, part]) => formOf(part, rows, memberOf(path, name)));
  if (members === undefined || members.includes(undefined)) return undefined;
  return `${Array.isArray(outputs) ? "list" : "record"}(${members.join("; ")})`;
}

/** The outputs of each request, which had so many samples. `formOf` has told that they have a form. */
export function partsOf(outputs: Outputs, rows: readonly number[]): Outputs[] {
  let end = 0;
  return rows.map((count) => cut(outputs, end, (end += count)));
}

const membersOf = (outputs: unknown): [string, unknown][] | undefined =>
  Array.isArray(outputs) || isPlainObject(outputs) ? Object.entries(outputs) : undefined;

function cut(outputs: Outputs, start: number, end: number): Outputs {
  if (isNDArray(outputs)) return rowsOf(outputs, start, end);
  if (Array.isArray(outputs)) return outputs.map((part: Outputs) => cut(part, start, end));
  if (!isPlainObject(outputs)) return outputs;
  return Object.fromEntries(Object.entries(outputs).map(([name, part]) => [name, cut(part, start, end)]));
}

/** A copy: none holds the memory of all. */
function rowsOf({ dtype, shape, data }: NDArray, start: number, end: number): NDArray {
  const row = data.length / shape[0]!;
  return { dtype, shape: [end - start, ...shape.slice(1)], data: data.slice(start * row, end * row) };
}
