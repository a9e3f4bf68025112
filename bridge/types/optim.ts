/** torch.optim. */
import type {
  AnyRef,
  Bool,
  Float,
  is,
  Is,
  Iter,
  Kw,
  Mapping,
  PyCallback,
  PyClass,
  PyDict,
  PyList,
  PyModule,
  PyNone,
  PyObject,
  Ref,
} from "./core.ts";
import type { Seq, Str } from "./core.ts";
import type { TensorLike } from "./values.ts";

export type OptimizerLike = Is<"torch.optim.Optimizer">;

/** Some of the parameters, with options of their own. All other options are the optimizer's. */
export interface ParameterGroup {
  params: Iter<TensorLike> | TensorLike;
  lr?: Float | TensorLike;
  weight_decay?: Float | TensorLike;
  momentum?: Float;
  betas?: Seq<Float | TensorLike>;
  eps?: Float;
  [option: string]: unknown;
}
/** Parameters, pairs of a name and a parameter, or groups of parameters. */
export type Params = Iter<TensorLike> | readonly ParameterGroup[] | Iter<Seq<Str | TensorLike>>;

/** Steps parameters along their gradients. */
export interface Optimizer extends PyObject<{ "torch.optim.Optimizer": true }> {
  /** Updates the parameters once, from the present gradients. */
  step(): PyNone;
  /** Updates them with a function that computes the loss again, and the gradients. Returns that function's result. */
  step(closure: PyCallback<[], TensorLike | number>): AnyRef;
  /** Forgets the gradients. By default it sets them to None. */
  zero_grad(set_to_none?: Bool | Kw<{ set_to_none?: Bool }>): PyNone;
  /** `py.setAt(optimizer.param_groups[0]!, "lr", 0.01)` changes an option. */
  readonly param_groups: Ref<PyList<PyDict<AnyRef>>>;
  readonly state: AnyRef;
  readonly defaults: Ref<PyDict<AnyRef>>;
  state_dict(): Ref<PyDict<AnyRef>>;
  load_state_dict(state_dict: Mapping<unknown> | Kw<{ state_dict: Mapping<unknown> }>): PyNone;
  add_param_group(
    param_group: ParameterGroup | Mapping<unknown> | Kw<{ param_group: ParameterGroup | Mapping<unknown> }>,
  ): PyNone;
}

interface Fast_Opt {
  foreach?: Bool | null;
  maximize?: Bool;
  differentiable?: Bool;
  fused?: Bool | null;
}

export interface SGD extends Optimizer {
  readonly [is]: { "torch.optim.SGD": true; "torch.optim.Optimizer": true };
}
interface SGD_Opt extends Fast_Opt {
  lr?: Float | TensorLike;
  momentum?: Float;
  dampening?: Float;
  weight_decay?: Float | TensorLike;
  nesterov?: Bool;
}
interface SGD_Kw extends SGD_Opt {
  params: Params;
}
type SGDClass = PyClass<
  SGD,
  [
    params: Params | Kw<SGD_Kw>,
    lr?: Float | TensorLike | Kw<SGD_Opt>,
    momentum?: Float | Kw<SGD_Opt>,
    dampening?: Float | Kw<SGD_Opt>,
    weight_decay?: Float | TensorLike | Kw<SGD_Opt>,
    nesterov?: Bool | Kw<SGD_Opt>,
    kw?: Kw<Fast_Opt>,
  ]
>;

export interface Adam extends Optimizer {
  readonly [is]: { "torch.optim.Adam": true; "torch.optim.Optimizer": true };
}
export interface AdamW extends Adam {
  readonly [is]: { "torch.optim.AdamW": true; "torch.optim.Adam": true; "torch.optim.Optimizer": true };
}
interface AdamOnly_Opt extends Fast_Opt {
  capturable?: Bool;
}
interface AdamW_Opt extends AdamOnly_Opt {
  lr?: Float | TensorLike;
  betas?: Seq<Float | TensorLike>;
  eps?: Float;
  weight_decay?: Float;
  amsgrad?: Bool;
}
interface AdamW_Kw extends AdamW_Opt {
  params: Params;
}
interface Adam_Opt extends AdamW_Opt {
  decoupled_weight_decay?: Bool;
}
interface Adam_Kw extends Adam_Opt {
  params: Params;
}
type AdamClass = PyClass<
  Adam,
  [
    params: Params | Kw<Adam_Kw>,
    lr?: Float | TensorLike | Kw<Adam_Opt>,
    betas?: Seq<Float | TensorLike> | Kw<Adam_Opt>,
    eps?: Float | Kw<Adam_Opt>,
    weight_decay?: Float | Kw<Adam_Opt>,
    amsgrad?: Bool | Kw<Adam_Opt>,
    kw?: Kw<AdamOnly_Opt & Pick<Adam_Opt, "decoupled_weight_decay">>,
  ]
>;
type AdamWClass = PyClass<
  AdamW,
  [
    params: Params | Kw<AdamW_Kw>,
    lr?: Float | TensorLike | Kw<AdamW_Opt>,
    betas?: Seq<Float | TensorLike> | Kw<AdamW_Opt>,
    eps?: Float | Kw<AdamW_Opt>,
    weight_decay?: Float | Kw<AdamW_Opt>,
    amsgrad?: Bool | Kw<AdamW_Opt>,
    kw?: Kw<AdamOnly_Opt>,
  ]
>;

/** The module `torch.optim`. */
export interface Optim extends PyModule {
  readonly Optimizer: PyClass<Optimizer, [params: Params, defaults: Mapping<unknown>]>;
  readonly SGD: SGDClass;
  readonly Adam: AdamClass;
  readonly AdamW: AdamWClass;
  readonly lr_scheduler: AnyRef;
}
