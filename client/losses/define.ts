/** Makes losses from the rows of the table: a function in the worker, PyTorch's or ours, and its options. */
import { kw } from "../../bridge/reference/kw.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { camelCase, isTensorData, keywordsOf, oneOf, type Kind, type Kinds } from "../options/keywords.ts";
import type { LossSpec, TargetKind } from "./spec.ts";
import { weighed, weigherBy } from "./weight.ts";

/** How the losses of a batch become one number; "none" leaves them. Default: "mean". */
export type Reduction = "mean" | "sum" | "none";
export const reduction: Kind = oneOf("mean", "sum", "none");

export type LossFactory<O extends object> = (options?: O) => LossSpec;

/** A row of the table of losses. */
export interface LossRow<O extends object> {
  /** The loss's name in TypeScript. */
  readonly name: string;
  /** The function's name in Python, and its module. Default: torch.nn.functional. */
  readonly function: string;
  readonly module?: string;
  readonly targets: TargetKind;
  /** The arguments from the model's output, and those from the target. Default: the first, and the second. */
  readonly outputs?: readonly string[];
  readonly given?: readonly string[];
  readonly options: Kinds<O>;
}

type Row = Omit<LossRow<object>, "options">;

/** Makes the function for a row. It throws MISUSE for an unknown option and for a value of a wrong kind. */
export function define<O extends object>(row: LossRow<O>): LossFactory<O> {
  return (options = {} as O) => {
    const keywords = keywordsOf(row.name, row.options, options);
    const made = (worker: Worker, device: string): Record<string, unknown> =>
      Object.fromEntries(Object.entries(keywords).map(([key, value]) => [key, onDevice(worker, device, value)]));
    return {
      name: row.function,
      targets: row.targets,
      options: keywords,
      create(worker, device) {
        const call = caller(worker, row);
        const given = made(worker, device);
        const weigher = weigherOf(worker, row, given);
        const last = Object.keys(given).length === 0 ? [] : [kw(given)];
        return (yhat, ys) => weighed(call(yhat, ys, ...last), { weigher, yhat, ys });
      },
      createInWorker(worker, device) {
        const { partial } = worker.import("functools");
        return py.keep(partial(functionOf(worker, row), kw(made(worker, device))) as AnyRef);
      },
    };
  };
}

const FUNCTIONAL = "torch.nn.functional";

function caller(worker: Worker, row: Row): (...args: unknown[]) => AnyRef {
  if (row.outputs === undefined && row.module === undefined) {
    const F = py.keep(worker.import(FUNCTIONAL));
    return (...args) => py.get(F, row.function)(...args);
  }
  return py.keep(functionOf(worker, row));
}

function functionOf(worker: Worker, { function: name, module = FUNCTIONAL, outputs, given = [] }: Row): AnyRef {
  const plain = py.get(worker.import(module), name);
  if (outputs === undefined) return plain;
  const { of_parts } = worker.import("torchwire_worker.helpers.losses");
  return of_parts(plain, named(outputs), named(given)) as AnyRef;
}

function weigherOf(worker: Worker, row: Row, options: Record<string, unknown>): AnyRef {
  const { function: name, module = FUNCTIONAL, outputs, given = [] } = row;
  const parts = outputs === undefined ? null : named(outputs);
  return weigherBy(worker, ({ weigher_of }) => weigher_of!(module, name, parts, named(given), options));
}

/** Pairs of names, since a record in TypeScript has them in camelCase. */
const named = (names: readonly string[]): unknown => names.map((argument) => [camelCase(argument), argument]);

/** Makes tensors of numbers and arrays. Everything else stays as it is, references too. */
function onDevice(worker: Worker, device: string, value: unknown): unknown {
  return isTensorData(value) ? py.keep(worker.tensor(value).to(device)) : value;
}
