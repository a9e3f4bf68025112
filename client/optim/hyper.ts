/** Hyperparameters, the optimizer's and your own. Only this file writes to an optimizer's param_groups. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { camelCase, described, snakeCase } from "../options/keywords.ts";

interface Owner {
  readonly worker: Worker;
  readonly optimizer: any;
}

/** A number arrives as a float, a bigint as an int: `hyper.set("maxIter", 20n)`. */
export type HyperValue = number | boolean | bigint;

/** The groups of parameters with this name, in this model where the learner has several. Default: all. */
export interface HyperTarget {
  readonly group?: string | undefined;
  readonly model?: string | undefined;
}

/**
 * A change of one hyperparameter: "own" sets its own value from here on; "now" sets a value, and "relative" a multiple
 * of its own, for now.
 */
export interface HyperChange extends HyperTarget {
  readonly name: string;
  readonly value: HyperValue;
  readonly how: "own" | "now" | "relative";
}

/** The hyperparameters of one group, under the names of JavaScript: numbers, and arrays of them (betas). */
export interface HyperValues {
  readonly [name: string]: number | boolean | string | readonly number[];
}

/**
 * The hyperparameters of the learner's optimizer, by PyTorch's names in camelCase: `lr`, `momentum`, `weightDecay`,
 * `"betas.0"`. Groups go by their names; parameters in no group are in "default". Nameless groups of an optimizer of
 * your own go by their number, "0".
 */
export class Hyper {
  readonly #learner: Owner;
  readonly #made: () => Promise<void> | undefined;

  /** `made` rejects where the making of the optimizer failed. */
  constructor(learner: Owner, made: () => Promise<void> | undefined) {
    this.#learner = learner;
    this.#made = made;
  }

  /**
   * `hyper.set("lr", 1e-3)` sets a value in all groups, or in those of `where`, from this place of the program on.
   * `relative` schedules multiply it. An optimizer without such a hyperparameter or group raises a PythonError at this
   * place, which names those that exist.
   */
  set(name: string, value: HyperValue, where: string | HyperTarget = {}): void {
    this.write([{ name, value, how: "own", ...targetOf(where) }]);
  }

  /** Makes several changes by one operation. */
  write(changes: readonly HyperChange[]): void {
    const assign = this.#helper("assign");
    const result = assign(this.#optimizers, changes.map(onWire));
    result[Symbol.dispose]();
    assign[Symbol.dispose]();
  }

  /** The present value. Rejects where several groups have different values. */
  get(name: string, where: string | HyperTarget = {}): Promise<number | boolean | readonly number[]> {
    const { model = null, group = null } = targetOf(where);
    const [key, index] = keyOf(name);
    return this.#ask("read", model, key, index, group) as Promise<number>;
  }

  /** All hyperparameters, by group, in the order of the groups. */
  async groups(model?: string): Promise<{ readonly [group: string]: HyperValues }> {
    const found = (await this.#ask("groups", model ?? null)) as {
      [group: string]: { [name: string]: number };
    };
    const renamed = (values: { [name: string]: number }): HyperValues =>
      Object.fromEntries(Object.entries(values).map(([name, value]) => [camelCase(name), value]));
    return Object.fromEntries(Object.entries(found).map(([group, values]) => [group, renamed(values)]));
  }

  /**
   * For changes at each step: returns a function that makes all changes by one operation. Its result is a dict of the
   * values after the changes, by name (`lr`, `lr/head`). Call `writer` outside of steps; it serves as long as the
   * learner.
   */
  writer(): (changes: readonly HyperChange[]) => AnyRef {
    const assign = py.keep(this.#helper("assign"));
    return (changes) => assign(this.#optimizers, changes.map(onWire));
  }

  /** Multiplies a value in all groups by `factor`, as ReduceLROnPlateau does. Returns the new values, by name. */
  scale(
    name: string,
    factor: number,
    { least = 0, eps = 0 }: { least?: number; eps?: number } = {},
  ): Promise<{ readonly [name: string]: number }> {
    const [key] = keyOf(name);
    const scaled = this.#ask("scale", key, py.float(factor), py.float(least), py.float(eps));
    return scaled as Promise<{ [name: string]: number }>;
  }

  /** Frees its references itself: outside of steps, only the garbage collection would. */
  #ask(name: string, ...args: unknown[]): Promise<unknown> {
    const helper = this.#helper(name);
    const result = helper(this.#optimizers, ...args);
    const value = Promise.resolve(py.js(result));
    for (const one of [result, helper]) one[Symbol.dispose]();
    return value.catch(async (error: unknown) => {
      // An optimizer that could not be made has no value: the error of the making is the one to tell.
      await this.#made();
      throw error;
    });
  }

  #helper(name: string): AnyRef {
    const module = this.#learner.worker.import("torchwire_worker.helpers.hyper");
    const helper = py.get(module, name);
    module[Symbol.dispose]();
    return helper;
  }

  get #optimizers(): unknown {
    return this.#learner.optimizer;
  }
}

const targetOf = (where: string | HyperTarget): HyperTarget => (typeof where === "string" ? { group: where } : where);

const NAME = /^([a-z]\w*)(?:\.(\d+))?$/i;

/** "betas.0" is the first of "betas". */
function keyOf(name: unknown): [key: string, index: number | null] {
  const [, key, index] = (typeof name === "string" && NAME.exec(name)) || [];
  if (key === undefined)
    throw new TorchwireError(
      "MISUSE",
      `${described(name)} is not the name of a hyperparameter; they are PyTorch's, in camelCase: lr, weightDecay, "betas.0"`,
    );
  return [snakeCase(key), index === undefined ? null : Number(index)];
}

function onWire({ model, group, name, value, how }: HyperChange): unknown[] {
  const kind = typeof value;
  if (kind !== "number" && kind !== "boolean" && kind !== "bigint")
    throw new TorchwireError("MISUSE", `hyper: ${name} is ${described(value)}; it must be a number, true or false`);
  if (Number.isNaN(value)) throw new TorchwireError("MISUSE", `hyper: ${name} is NaN`);
  const [key, index] = keyOf(name);
  const label = model === undefined ? name : `${model}/${name}`;
  return [label, model ?? null, key, index, group ?? null, typeof value === "number" ? py.float(value) : value, how];
}

export interface HyperparameterOptions {
  /** Called with each value that is set: `(p) => { model.dropout.p = py.float(p); }`. */
  readonly apply?: (value: number) => void;
}

/**
 * A hyperparameter of your own: a weight in a loss, a probability of dropout. A loss function or a phase reads its
 * `value` when a step is issued. A Scheduler, or your own code, sets it.
 */
export class Hyperparameter {
  readonly name: string;
  readonly #apply: HyperparameterOptions["apply"];
  #value!: number;

  constructor(name: string, value: number, { apply }: HyperparameterOptions = {}) {
    if (typeof name !== "string" || name === "")
      throw new TorchwireError("MISUSE", "hyperparameter(name, value): the name is missing");
    if (apply !== undefined && typeof apply !== "function")
      throw new TorchwireError(
        "MISUSE",
        `hyperparameter ${name}: apply is ${described(apply)}; it must be a function of the value`,
      );
    this.name = name;
    this.#apply = apply;
    this.value = value;
  }

  get value(): number {
    return this.#value;
  }

  set value(value: number) {
    if (typeof value !== "number" || Number.isNaN(value))
      throw new TorchwireError("MISUSE", `hyperparameter ${this.name}: ${described(value)} is not a number`);
    this.#value = value;
    this.#apply?.(value);
  }
}

/** Makes a hyperparameter: `const beta = hyperparameter("beta", 0.1)`, and in the loss `… + beta.value * …`. */
export function hyperparameter(name: string, value: number, options?: HyperparameterOptions): Hyperparameter {
  return new Hyperparameter(name, value, options);
}
