/** A table of the layers of a model. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py, type AnyReference } from "../../bridge/reference/py.ts";
import { oneLine } from "../../bridge/errors/shown.ts";
import { workerOf, type Worker } from "../../bridge/worker.ts";
import { traced } from "../../bridge/errors/site.ts";
import { isValue, notAnInput } from "../data/batch.ts";
import { ArrayList } from "../data/list.ts";
import { mapTree, type Tree } from "../data/tree.ts";
import type { Values } from "../data/types.ts";
import { toTorch } from "../formats/convert.ts";
import { same } from "../formats/format.ts";

/** A shape, or an input itself. */
export type SummaryInput = readonly number[] | Values;

export interface SummaryOptions {
  /**
   * A shape with its batch axis, for an input of zeros, or the input itself; of several inputs either, by position or by
   * name, nested as the model takes them. The zeros are int64 where an embedding takes no floats. It makes output shapes
   * known.
   */
  readonly input?: Tree<SummaryInput>;
}

export interface LayerSummary {
  /** The name that `named_modules` gives it: "layer1.0.conv1"; "" is the model itself. */
  readonly name: string;
  /** The name of its class. */
  readonly type: string;
  /** Shapes of the tensors in the output of its first call; empty where no input was given or it was not called. */
  readonly outputs: readonly (readonly number[])[];
  /** How often it was called with the input. */
  readonly calls: number;
  /** Elements of its own parameters, without those of the modules below it. */
  readonly parameters: number;
  /** How many of them get gradients. */
  readonly trainable: number;
}

export interface ModelSummary {
  /** Every module once, in the order of `named_modules`. A layer that is used in two places has the first name. */
  readonly layers: readonly LayerSummary[];
  /** Elements of all parameters; tied ones count once. */
  readonly parameters: number;
  readonly trainable: number;
  /** Bytes of all parameters and buffers. */
  readonly bytes: number;
  /** A table. */
  toString(): string;
}

/**
 * Returns a model's layers, their parameters and, where an input is given, the shapes of their outputs.
 *
 * With an input the model runs once, in eval mode, without gradients and with random numbers of its own: training does
 * not notice. It throws Python's error where the model cannot run with that input.
 */
export function summary(model: AnyReference, { input }: SummaryOptions = {}): Promise<ModelSummary> {
  return traced("summary", async () => {
    const worker = workerOf(model);
    if (worker === undefined) throw new TorchwireError("MISUSE", "summary: the model is not a reference to a module");
    const described = await worker.context({ mode: "no_grad", eval: [model], rng: "fork" }, () =>
      worker.scope(() => {
        const helpers = worker.import("torchwire_worker.helpers.summary");
        return py.js(py.get(helpers, "describe")(model, input === undefined ? null : sent(worker, input)));
      }),
    );
    const parts = described as Omit<ModelSummary, "toString">;
    return { ...parts, toString: () => table(parts) };
  });
}

/** Shapes and references stay as they are. */
const sent = (worker: Worker, input: NonNullable<SummaryOptions["input"]>): unknown =>
  mapTree(
    input,
    "input",
    (part): part is SummaryInput => isValue(part) || isShape(part),
    (part, path) =>
      part instanceof ArrayList ? toTorch(part, path, { worker, device: worker.device, format: same }) : part,
    notAnInput,
  );

const isShape = (part: unknown): part is readonly number[] =>
  Array.isArray(part) && part.every((size) => Number.isSafeInteger(size));

function table({ layers, parameters, trainable, bytes }: Omit<ModelSummary, "toString">): string {
  const withShapes = layers.some(({ calls }) => calls > 0);
  const header = ["Layer", "Type", ...(withShapes ? ["Output"] : []), "Parameters", "Trainable"];
  const names = tree(layers);
  const rows = layers.map((layer, i) => [
    names[i]!,
    oneLine(layer.type),
    ...(withShapes ? [shapes(layer)] : []),
    layer.parameters === 0 ? "" : count(layer.parameters),
    layer.parameters === 0 ? "" : count(layer.trainable),
  ]);
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  // Aligns numbers to the right.
  const line = (cells: readonly string[]): string =>
    `│ ${cells.map((cell, i) => (i >= cells.length - 2 ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join(" │ ")} │`;
  const rule = (left: string, middle: string, right: string): string =>
    left + widths.map((width) => "─".repeat(width + 2)).join(middle) + right;
  return [
    rule("┌", "┬", "┐"),
    line(header),
    rule("├", "┼", "┤"),
    ...rows.map(line),
    rule("└", "┴", "┘"),
    `${count(parameters)} parameters, ${count(trainable)} of them trainable; ${size(bytes)} with buffers`,
  ].join("\n");
}

/** Draws each layer's branch of the tree, and the last part of its name. */
function tree(layers: readonly LayerSummary[]): string[] {
  const parentOf = (name: string): string => name.slice(0, Math.max(0, name.lastIndexOf(".")));
  const lastChildren = new Map(layers.slice(1).map(({ name }) => [parentOf(name), name]));
  const isLast = (name: string): boolean => lastChildren.get(parentOf(name)) === name;
  return layers.map(({ name }) => {
    if (name === "") return "(model)";
    const parts = name.split(".");
    const above = parts.slice(1).map((_, i) => (isLast(parts.slice(0, i + 1).join(".")) ? "   " : "│  "));
    return `${above.join("")}${isLast(name) ? "└─ " : "├─ "}${oneLine(parts.at(-1)!)}`;
  });
}

function shapes({ outputs, calls }: LayerSummary): string {
  const text = outputs.map((shape) => `[${shape.join(", ")}]`).join(", ");
  return calls > 1 ? `${text} ×${calls}` : text;
}

const count = (n: number): string => n.toLocaleString("en-US");

function size(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.max(0, Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10)));
  return `${power === 0 ? bytes : (bytes / 2 ** (10 * power)).toFixed(1)} ${units[power]}`;
}
