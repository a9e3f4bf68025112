/** Hyperparameters: those of the optimizer, and one's own. Nothing else writes to an optimizer's param_groups. */
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

/** Which groups of parameters: those of this name, of this model where the learner has several. Default: all. */
export interface HyperTarget {
  readonly group?: string | undefined;
  readonly model?: string | undefined;
}

/** What is written to one hyperparameter: its own value from here on, or one for now, or a multiple of its own for now. */
export interface HyperChange extends HyperTarget {
  readonly name: string;
  readonly value: HyperValue;
  readonly how: "own" | "now" | "relative";
}

/** Of one group: numbers, and arrays of them (betas), under the names of JavaScript. */
export interface HyperValues {
  readonly [name: string]: number | boolean | string | readonly number[];
}

/**
 * The hyperparameters of the learner's optimizer, by PyTorch's names in camelCase: `lr`, `momentum`, `weightDecay`, `"betas.0"`. Groups go by their
 * name; what is in none is "default". Those of an optimizer of one's own that have no name go by their number, "0".
 */
export class Hyper {
  readonly #learner: Owner;

  constructor(learner: Owner) {
    this.#learner = learner;
  }

  /**
   * `hyper.set("lr", 1e-3)`, in all groups or in those of `where`, from this place of the program on. It is also what `relative` schedules multiply.
   * An optimizer that has no such hyperparameter or group is a PythonError at this place, which names those there are.
   */
  set(name: string, value: HyperValue, where: string | HyperTarget = {}): void {
    this.write([{ name, value, how: "own", ...targetOf(where) }]);
  }

  /** Several at once, by one operation. */
  write(changes: readonly HyperChange[]): void {
    const assign = this.#helper("assign");
    const result = assign(this.#optimizers, changes.map(onWire));
    result[Symbol.dispose]();
    assign[Symbol.dispose]();
  }

  /** Its value now. Rejects where several groups have it, with values of their own. */
  get(name: string, where: string | HyperTarget = {}): Promise<number | boolean | readonly number[]> {
    const { model = null, group = null } = targetOf(where);
    const [key, index] = keyOf(name);
    return this.#ask("read", model, key, index, group) as Promise<number>;
  }

  /** All of them, by group, in the order of the groups. */
  async groups(model?: string): Promise<{ readonly [group: string]: HyperValues }> {
    const found = (await this.#ask("groups", model ?? null)) as {
      [group: string]: { [name: string]: number };
    };
    const renamed = (values: { [name: string]: number }): HyperValues =>
      Object.fromEntries(Object.entries(values).map(([name, value]) => [camelCase(name), value]));
    return Object.fromEntries(Object.entries(found).map(([group, values]) => [group, renamed(values)]));
  }

  /**
   * For those who write at each step: what makes all changes by one operation, whose result is a dict of the values that are there then, by name
   * (`lr`, `lr/head`). Made outside of steps, it serves as long as the learner.
   */
  writer(): (changes: readonly HyperChange[]) => AnyRef {
    const assign = py.keep(this.#helper("assign"));
    return (changes) => assign(this.#optimizers, changes.map(onWire));
  }

  /** Of all groups, `value * factor`, as ReduceLROnPlateau does it; the values then, by name. */
  scale(
    name: string,
    factor: number,
    { least = 0, eps = 0 }: { least?: number; eps?: number } = {},
  ): Promise<{ readonly [name: string]: number }> {
    const [key] = keyOf(name);
    const scaled = this.#ask("scale", key, py.float(factor), py.float(least), py.float(eps));
    return scaled as Promise<{ [name: string]: number }>;
  }

  /** What is used once is not left to the garbage collection: outside of steps nothing else frees it. */
  #ask(name: string, ...args: unknown[]): Promise<unknown> {
    const helper = this.#helper(name);
    const result = helper(this.#optimizers, ...args);
    const value = py.js(result);
    for (const one of [result, helper]) one[Symbol.dispose]();
    return value;
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
      `${described(name)} is no name of a hyperparameter; they are as PyTorch's, in camelCase: lr, weightDecay, "betas.0"`,
    );
  return [snakeCase(key), index === undefined ? null : Number(index)];
}

function onWire({ model, group, name, value, how }: HyperChange): unknown[] {
  const kind = typeof value;
  if (kind !== "number" && kind !== "boolean" && kind !== "bigint")
    throw new TorchwireError("MISUSE", `hyper: ${name} is ${described(value)}; it is to be a number, true or false`);
  if (Number.isNaN(value)) throw new TorchwireError("MISUSE", `hyper: ${name} is NaN`);
  const [key, index] = keyOf(name);
  const label = model === undefined ? name : `${model}/${name}`;
  return [label, model ?? null, key, index, group ?? null, typeof value === "number" ? py.float(value) : value, how];
}

export interface HyperparameterOptions {
  /** Called with each value that it is given: `(p) => { model.dropout.p = py.float(p); }`. */
  readonly apply?: (value: number) => void;
}

/**
 * A hyperparameter of one's own: a weight in a loss, a probability of dropout. A loss function or a phase reads its `value` when a step is issued, and
 * a Scheduler, or anybody, sets it.
 */
export class Hyperparameter {
  readonly name: string;
  readonly #apply: HyperparameterOptions["apply"];
  #value!: number;

  constructor(name: string, value: number, { apply }: HyperparameterOptions = {}) {
    if (typeof name !== "string" || name === "")
      throw new TorchwireError("MISUSE", "hyperparameter(name, value): there is no name");
    if (apply !== undefined && typeof apply !== "function")
      throw new TorchwireError(
        "MISUSE",
        `hyperparameter ${name}: apply is ${described(apply)}; it is to be a function of the value`,
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
      throw new TorchwireError("MISUSE", `hyperparameter ${this.name}: ${described(value)} is no number`);
    this.#value = value;
    this.#apply?.(value);
  }
}

/** `const beta = hyperparameter("beta", 0.1)`, and in the loss `… + beta.value * …`. */
export function hyperparameter(name: string, value: number, options?: HyperparameterOptions): Hyperparameter {
  return new Hyperparameter(name, value, options);
}
