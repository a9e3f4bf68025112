/** Makes optimisers from the rows of the table: a class of torch.optim, its options, and groups of parameters. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { kw } from "../../bridge/reference/kw.ts";
import { py } from "../../bridge/reference/py.ts";
import { isReference, untyped } from "../../bridge/reference/ref.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { described, keywordsOf, type Kind, type Kinds } from "../options/keywords.ts";
import type { OptimizerSpec } from "./spec.ts";

/** The parameters of a group, and its own options. All other options are the optimiser's. */
export type ParameterGroup<O> = O & {
  /**
   * Parameters, a module (all of its parameters), an iterable of these, or an array of any:
   * `(m) => m.fc`, `(m) => [m.layer4.parameters(), m.fc.weight]`.
   */
  readonly params: (model: AnyRef) => PyObject | readonly PyObject[];
};

export interface Grouped<O> {
  /**
   * Parameters with options of their own, by name. Each becomes one of PyTorch's param_groups, in this order, with its
   * name under the key "name". All other parameters form the group "default", which comes first and is left out where
   * empty.
   *
   * Or a function of the model that has PyTorch's param_groups made in Python, such as timm's
   * `(m) => timm.optim.param_groups_layer_decay(m)`. A group's rate is multiplied by its `lr_scale`, where it has one.
   */
  readonly groups?: { readonly [name: string]: ParameterGroup<O> } | ((model: AnyRef) => PyObject);
}

export type OptimizerFactory<O extends object> = (options?: O & Grouped<O>) => OptimizerSpec;

/** A row of the table of optimisers. */
export interface OptimizerRow<O extends object> {
  /** The name in TypeScript. */
  readonly name: string;
  /** The class in torch.optim. */
  readonly className: string;
  readonly options: Kinds<O>;
  /** The first torch that has it, unless every supported torch does. */
  readonly since?: string;
  /** True where its step takes a closure. */
  readonly closure?: boolean;
}

/**
 * Makes the function for a row.
 *
 * It throws MISUSE for an unknown option and for a value of a wrong kind, also in a group. A parameter in two groups,
 * and a group without parameters, raise a PythonError when the optimiser is made.
 */
export function define<O extends object>(row: OptimizerRow<O>): OptimizerFactory<O> {
  const { name, className, options: kinds, since, closure } = row;
  const all = { ...kinds, groups: groupsOf(name, kinds) } as Kinds<O & Grouped<O>>;
  return (options = {} as O) => {
    const { groups, ...rest } = keywordsOf(name, all, options);
    return {
      name: className,
      ...(closure === true && { closure }),
      create(worker, model) {
        const cls =
          since === undefined ? py.get(worker.import("torch").optim, className) : found(worker, className, since);
        const optimizer = cls(parametersOf(worker, model, groups as Groups | undefined), kw(rest));
        if (typeof groups !== "function") return optimizer;
        return worker.import("torchwire_worker.helpers.optim").scale_rates(optimizer) as AnyRef;
      },
    };
  };
}

/** The class. Where torch is too old for it, the error says so. */
function found(worker: Worker, className: string, since: string): AnyRef {
  return worker.import("torchwire_worker.helpers.optim").optimizer_class(className, since) as AnyRef;
}

interface Group {
  readonly params: (model: AnyRef) => unknown;
  readonly keywords: Record<string, unknown>;
}
/** By their names, or made in Python. */
type Groups = ReadonlyMap<string, Group> | ((model: AnyRef) => PyObject);

/** `groups` as a kind of option: each group is checked when the spec is made. */
function groupsOf<O extends object>(optimizer: string, kinds: Kinds<O>): Kind {
  const checked = (name: string, group: unknown): Group => {
    const where = `${optimizer}: group "${name}"`;
    if (name === "default")
      throw new TorchwireError(
        "MISUSE",
        `${where} holds all parameters that no other group has: its options are those of ${optimizer}`,
      );
    if (typeof group !== "object" || group === null)
      throw new TorchwireError("MISUSE", `${where} is ${described(group)}; it must be { params: (m) => …, lr: … }`);
    const { params, ...options } = group as ParameterGroup<O>;
    if (!isFunction(params))
      throw new TorchwireError(
        "MISUSE",
        `${where}: params is ${described(params)}; it must be a function of the model: (m) => m.fc.parameters()`,
      );
    const take = (model: AnyRef): unknown => {
      const found: unknown = params(model);
      if (!isReference(found) && !(Array.isArray(found) && found.every(isReference)))
        throw new TorchwireError(
          "MISUSE",
          `${where}: params gave ${described(found)}; it must return references, at once: (m) => m.fc.parameters()`,
        );
      return found;
    };
    // (TypeScript does not see that a group without its `params` is an O.)
    return { params: take, keywords: keywordsOf(where, kinds, options as unknown as O) };
  };
  return {
    is: "an object of groups by their names: { head: { params: (m) => m.fc.parameters(), lr: 1e-2 } }, or a function of the model that makes all of them in Python",
    send: (groups) =>
      isFunction(groups)
        ? (model: AnyRef) => checkedMade(optimizer, groups(model))
        : typeof groups === "object" && groups !== null && !Array.isArray(groups)
          ? new Map(Object.entries(groups).map(([name, group]) => [name, checked(name, group)]))
          : undefined,
  };
}

/** A function of this program, and no reference. */
const isFunction = (value: unknown): value is (model: AnyRef) => unknown =>
  typeof value === "function" && !isReference(value);

function checkedMade(optimizer: string, made: unknown): PyObject {
  if (!isReference(made))
    throw new TorchwireError(
      "MISUSE",
      `${optimizer}: groups gave ${described(made)}; a function must return a reference to param_groups, at once: (m) => timm.optim.param_groups_layer_decay(m)`,
    );
  return made;
}

/** The optimiser's first argument: the model's parameters, or a list of param_groups. */
function parametersOf(worker: Worker, model: PyObject, groups: Groups | undefined): AnyRef {
  const any = untyped(model);
  if (typeof groups === "function") return groups(any) as AnyRef;
  if (groups === undefined || groups.size === 0) return any.parameters();
  const { parameter_groups } = worker.import("torchwire_worker.helpers.optim");
  const named = [...groups].map(([name, { params, keywords }]) => ({ name, params: params(any), ...keywords }));
  return parameter_groups(any, named);
}
