/** Optimisers of torch.optim as values: a table of their options, and what makes one of them for a model. */
import { TorchwireError } from "../bridge/errors.ts";
import { kw } from "../bridge/kw.ts";
import { py } from "../bridge/py.ts";
import { inner } from "../bridge/ref.ts";
import type { AnyRef, Float, is, PyObject } from "../bridge/types/core.ts";
import type { OptimizerLike } from "../bridge/types/optim.ts";
import type { TensorLike } from "../bridge/types/values.ts";
import type { Worker } from "../bridge/worker.ts";
import { described, flag, float, floatPair, keywordsOf, type Kind, type Kinds } from "./keywords.ts";

/** An optimiser that is to be made: `adamW({ lr: 1e-3 })`. */
export interface OptimizerSpec {
  /** The class in torch.optim. */
  readonly name: string;
  /** Makes it for the parameters of `model`, and waits for nothing. */
  create(worker: Worker, model: PyObject): AnyRef;
}

/** Makes an optimiser of the model, at once: `(m) => torch.optim.Adagrad(m.parameters())`. It is a function and no class of Python. */
export type OptimizerFunction = ((model: AnyRef) => OptimizerLike & PyObject) & { readonly [is]?: never };

/** What a learner takes: a spec, an optimiser in the worker, or a function that makes one of the model. */
export type OptimizerOption = OptimizerSpec | OptimizerLike | OptimizerFunction;

/** Which parameters a group has, and the options that are its own; the others are those of the optimiser. */
export type ParameterGroup<O> = O & {
  /**
   * Parameters, a module for all of its parameters, something iterable of these, or an array of any:
   * `(m) => m.fc`, `(m) => [m.layer4.parameters(), m.fc.weight]`.
   */
  readonly params: (model: AnyRef) => PyObject | readonly PyObject[];
};

export interface Grouped<O> {
  /**
   * Parameters with options of their own, by name. Each becomes one of PyTorch's param_groups, with its name under the key
   * "name", in this order. What is in no group is the group "default", which comes first and is left out where it is empty.
   */
  readonly groups?: { readonly [name: string]: ParameterGroup<O> };
}

export type OptimizerFactory<O extends object> = (options?: O & Grouped<O>) => OptimizerSpec;

/** How the update is computed; PyTorch chooses by itself. */
interface Implementation {
  /** One operation for many tensors: faster and with more memory. PyTorch's default: on CUDA, where `fused` is not. */
  readonly foreach?: boolean;
  /** The whole update as one kernel. PyTorch's default: false. */
  readonly fused?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
}
const implementation = { foreach: flag, fused: flag, maximize: flag, differentiable: flag };

export interface SgdOptions extends Implementation {
  /** Step size. PyTorch's default: 1e-3. */
  readonly lr?: Float | TensorLike;
  /** How much of the last update is in the next one. PyTorch's default: 0. */
  readonly momentum?: Float;
  /** How much of the gradient is left out of the momentum. PyTorch's default: 0. */
  readonly dampening?: Float;
  /** L2 penalty, added to the gradient. PyTorch's default: 0. */
  readonly weightDecay?: Float | TensorLike;
  /** Nesterov's momentum; asks for a momentum and no dampening. PyTorch's default: false. */
  readonly nesterov?: boolean;
}

/** Stochastic gradient descent, `torch.optim.SGD`. */
export const sgd: OptimizerFactory<SgdOptions> = define<SgdOptions>("sgd", "SGD", {
  lr: float,
  momentum: float,
  dampening: float,
  weightDecay: float,
  nesterov: flag,
  ...implementation,
});

interface AdamFamily extends Implementation {
  /** Step size. PyTorch's default: 1e-3. */
  readonly lr?: Float | TensorLike;
  /** How much of the running means of the gradient and of its square each step keeps. PyTorch's default: [0.9, 0.999]. */
  readonly betas?: readonly [Float | TensorLike, Float | TensorLike];
  /** Added to the denominator. PyTorch's default: 1e-8. */
  readonly eps?: Float;
  /** Divides by the greatest mean square so far instead of the present one. PyTorch's default: false. */
  readonly amsgrad?: boolean;
  /** Can be captured in a CUDA graph. PyTorch's default: false. */
  readonly capturable?: boolean;
}
const adamFamily = { lr: float, betas: floatPair, eps: float, amsgrad: flag, capturable: flag, ...implementation };

export interface AdamOptions extends AdamFamily {
  /** L2 penalty, added to the gradient. PyTorch's default: 0. */
  readonly weightDecay?: Float;
}

/** Adam, `torch.optim.Adam`. */
export const adam: OptimizerFactory<AdamOptions> = define<AdamOptions>("adam", "Adam", {
  weightDecay: float,
  ...adamFamily,
});

export interface AdamWOptions extends AdamFamily {
  /** Shrinks the weights by lr · weightDecay at each step, apart from the gradient. PyTorch's default: 0.01. */
  readonly weightDecay?: Float;
}

/** Adam with decoupled weight decay, `torch.optim.AdamW`. */
export const adamW: OptimizerFactory<AdamWOptions> = define<AdamWOptions>("adamW", "AdamW", {
  weightDecay: float,
  ...adamFamily,
});

/**
 * One row of the table: a function named `name` for the class `className` of torch.optim.
 *
 * It throws MISUSE for an unknown option and for a value of a wrong kind, also in a group. A parameter in two groups, and
 * a group without parameters, are a PythonError when the optimiser is made.
 */
function define<O extends object>(name: string, className: string, kinds: Kinds<O>): OptimizerFactory<O> {
  const all = { ...kinds, groups: groupsOf(name, kinds) } as Kinds<O & Grouped<O>>;
  return (options = {} as O) => {
    const { groups, ...rest } = keywordsOf(name, all, options);
    return {
      name: className,
      create(worker, model) {
        const cls = py.get(worker.import("torch").optim, className);
        return cls(parametersOf(worker, model, groups as Groups | undefined), kw(rest));
      },
    };
  };
}

interface Group {
  readonly params: (model: AnyRef) => unknown;
  readonly keywords: Record<string, unknown>;
}
type Groups = ReadonlyMap<string, Group>;

/** `groups` as one more kind of option: each of them is checked when the spec is made. */
function groupsOf<O extends object>(optimizer: string, kinds: Kinds<O>): Kind {
  const checked = (name: string, group: unknown): Group => {
    const where = `${optimizer}: group "${name}"`;
    if (name === "default")
      throw new TorchwireError(
        "MISUSE",
        `${where} is what is in no other group: its options are those of ${optimizer}`,
      );
    if (typeof group !== "object" || group === null)
      throw new TorchwireError("MISUSE", `${where} is ${described(group)}; it is to be { params: (m) => …, lr: … }`);
    const { params, ...options } = group as ParameterGroup<O>;
    if (typeof params !== "function" || inner(params) !== undefined)
      throw new TorchwireError(
        "MISUSE",
        `${where}: params is ${described(params)}; it is to be a function of the model: (m) => m.fc.parameters()`,
      );
    const take = (model: AnyRef): unknown => {
      const found: unknown = params(model);
      if (inner(found) === undefined && !(Array.isArray(found) && found.every((one) => inner(one) !== undefined)))
        throw new TorchwireError(
          "MISUSE",
          `${where}: params gave ${described(found)}; it is to give references, at once: (m) => m.fc.parameters()`,
        );
      return found;
    };
    return { params: take, keywords: keywordsOf(where, kinds, options as unknown as O) };
  };
  return {
    is: "an object of groups by their names: { head: { params: (m) => m.fc.parameters(), lr: 1e-2 } }",
    send: (groups) =>
      typeof groups === "object" && groups !== null && !Array.isArray(groups)
        ? new Map(Object.entries(groups).map(([name, group]) => [name, checked(name, group)]))
        : undefined,
  };
}

/** What the optimiser's first argument is: the model's parameters, or a list of param_groups. */
function parametersOf(worker: Worker, model: PyObject, groups: Groups | undefined): AnyRef {
  const any = model as unknown as AnyRef;
  if (groups === undefined || groups.size === 0) return any.parameters();
  const { parameter_groups } = worker.import("torchwire_worker.helpers.optim");
  const named = [...groups].map(([name, { params, keywords }]) => ({ name, params: params(any), ...keywords }));
  return parameter_groups(any, named);
}

/**
 * The optimiser that `option` stands for, as a reference that is the caller's to keep. A reference is taken as it is.
 *
 * Throws MISUSE where a function gives anything but a reference, such as a Promise.
 */
export function toOptimizer(worker: Worker, option: OptimizerOption, model: PyObject): AnyRef {
  if (inner(option) !== undefined) return option as unknown as AnyRef;
  if (typeof option === "function") {
    const made: unknown = option(model as unknown as AnyRef);
    if (inner(made) === undefined)
      throw new TorchwireError(
        "MISUSE",
        `the function that makes the optimizer gave ${described(made)}; it is to give a reference, at once: ` +
          "(model) => torch.optim.SGD(model.parameters())",
      );
    return made as AnyRef;
  }
  if (typeof (option as OptimizerSpec | null | undefined)?.create !== "function")
    throw new TorchwireError(
      "MISUSE",
      `the optimizer is ${described(option)}; it is to be adamW({ … }) or its like, an optimizer in the worker, or a function`,
    );
  return (option as OptimizerSpec).create(worker, model);
}
