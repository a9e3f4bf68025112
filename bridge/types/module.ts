/** torch.nn.Module, and the results of its methods. */
import type { AnyRef, Bool, Callable, Int, is, Is, Kw, KwIn, Mapping, PyBool, PyDict, PyIter, PyList } from "./core.ts";
import type { PyCallback, PyNone, PyStr, Ref, Str, Tup } from "./core.ts";
import type { Parameter, RemovableHandle, Tensor } from "./tensor.ts";
import type { DeviceLike, DTypeLike, MemoryFormatLike, TensorLike } from "./values.ts";

export type ModuleLike = Is<"torch.nn.Module">;

/** The result of `load_state_dict`. */
export type IncompatibleKeys = Tup<[PyList<PyStr>, PyList<PyStr>]> & {
  readonly missing_keys: Ref<PyList<PyStr>>;
  readonly unexpected_keys: Ref<PyList<PyStr>>;
};

interface Copy_Opt {
  non_blocking?: Bool;
  memory_format?: MemoryFormatLike | null;
}
interface to_Opt extends Copy_Opt {
  device?: DeviceLike | null;
  dtype?: DTypeLike | null;
}
interface Recurse_Opt {
  recurse?: Bool;
}
interface Named_Opt {
  prefix?: Str;
  recurse?: Bool;
  remove_duplicate?: Bool;
}
interface load_Opt {
  strict?: Bool;
  assign?: Bool;
}
interface load_Kw extends load_Opt {
  state_dict: Mapping<unknown>;
}

/** Its methods without types of their own. */
interface Untyped {
  readonly call_super_init: AnyRef;
  readonly compile: AnyRef;
  readonly dump_patches: AnyRef;
  readonly extra_repr: AnyRef;
  readonly get_buffer: AnyRef;
  readonly get_extra_state: AnyRef;
  readonly ipu: AnyRef;
  readonly mtia: AnyRef;
  readonly named_modules: AnyRef;
  readonly register_backward_hook: AnyRef;
  readonly register_buffer: AnyRef;
  readonly register_full_backward_pre_hook: AnyRef;
  readonly register_load_state_dict_post_hook: AnyRef;
  readonly register_load_state_dict_pre_hook: AnyRef;
  readonly register_module: AnyRef;
  readonly register_parameter: AnyRef;
  readonly register_state_dict_post_hook: AnyRef;
  readonly register_state_dict_pre_hook: AnyRef;
  readonly set_extra_state: AnyRef;
  readonly set_submodule: AnyRef;
  readonly share_memory: AnyRef;
  readonly to_empty: AnyRef;
  readonly type: AnyRef;
  readonly xpu: AnyRef;
}

/**
 * The base of all networks and layers. It is closed: `model.fcc` is an error. Where Python says no more than "a
 * module", the result is an `AnyModule`.
 */
export interface Module extends Callable<{ "torch.nn.Module": true }>, Untyped {
  readonly training: PyBool;
  parameters(recurse?: Bool | Kw<Recurse_Opt>): Ref<PyIter<Parameter>>;
  named_parameters(
    prefix?: Str | Kw<Named_Opt>,
    recurse?: Bool | Kw<Named_Opt>,
    remove_duplicate?: Bool | Kw<Named_Opt>,
  ): Ref<PyIter<Tup<[PyStr, Parameter]>>>;
  buffers(recurse?: Bool | Kw<Recurse_Opt>): Ref<PyIter<Tensor>>;
  named_buffers(
    prefix?: Str | Kw<Named_Opt>,
    recurse?: Bool | Kw<Named_Opt>,
    remove_duplicate?: Bool | Kw<Named_Opt>,
  ): Ref<PyIter<Tup<[PyStr, Tensor]>>>;
  children(): Ref<PyIter<AnyModule>>;
  named_children(): Ref<PyIter<Tup<[PyStr, AnyModule]>>>;
  /** This module and every module below it. */
  modules(remove_duplicate?: Bool | Kw<{ remove_duplicate?: Bool }>): Ref<PyIter<AnyModule>>;
  get_submodule(target: Str | Kw<{ target: Str }>): Ref<AnyModule>;
  get_parameter(target: Str | Kw<{ target: Str }>): Ref<Parameter>;
  add_module(name: Str, module: ModuleLike | null | Kw<{ module: ModuleLike | null }>): PyNone;
  /** Calls a function with every module below it, and then with itself. */
  apply(fn: PyCallback<[module: AnyRef], unknown> | Kw<{ fn: PyCallback<[module: AnyRef], unknown> }>): this;
  /** Calls `hook` before each forward. It may give other arguments: a tuple, or a single value. */
  register_forward_pre_hook(
    hook: PyCallback<[module: AnyRef, args: AnyRef, ...more: AnyRef[]], unknown>,
    kw?: Kw<{ prepend?: Bool; with_kwargs?: Bool }>,
  ): Ref<RemovableHandle>;
  /** Calls `hook` after each forward. It may give another output. (`with_kwargs` puts a dict before the output.) */
  register_forward_hook(
    hook: PyCallback<[module: AnyRef, args: AnyRef, output: AnyRef, ...more: AnyRef[]], unknown>,
    kw?: Kw<{ prepend?: Bool; with_kwargs?: Bool; always_call?: Bool }>,
  ): Ref<RemovableHandle>;
  /** Calls `hook` when the gradients of its inputs are there. It may give a tuple of others. */
  register_full_backward_hook(
    hook: PyCallback<[module: AnyRef, grad_input: AnyRef, grad_output: AnyRef], unknown>,
    prepend?: Bool | Kw<{ prepend?: Bool }>,
  ): Ref<RemovableHandle>;

  state_dict(kw?: Kw<{ destination?: Mapping<unknown> | null; prefix?: Str; keep_vars?: Bool }>): Ref<PyDict<Tensor>>;
  load_state_dict(
    state_dict: Mapping<unknown> | Kw<load_Kw>,
    strict?: Bool | Kw<load_Opt>,
    assign?: Bool | Kw<load_Opt>,
  ): Ref<IncompatibleKeys>;

  /** Puts it into training mode, or with `false` into evaluation mode. Within a fit, use a context instead. */
  train(mode?: Bool | Kw<{ mode?: Bool }>): this;
  eval(): this;
  requires_grad_(requires_grad?: Bool | Kw<{ requires_grad?: Bool }>): this;
  zero_grad(set_to_none?: Bool | Kw<{ set_to_none?: Bool }>): PyNone;

  to(dtype: DTypeLike | TensorLike, non_blocking?: Bool | KwIn<Copy_Opt>, kw?: KwIn<Copy_Opt>): this;
  /** Moves parameters and buffers, in place. */
  to(
    device: DeviceLike | null | KwIn<to_Opt>,
    dtype?: DTypeLike | null | KwIn<to_Opt>,
    non_blocking?: Bool | KwIn<to_Opt>,
    kw?: KwIn<to_Opt>,
  ): this;
  cpu(): this;
  cuda(device?: Int | Is<"torch.device"> | null | Kw<{ device?: Int | Is<"torch.device"> | null }>): this;
  float(): this;
  double(): this;
  half(): this;
  bfloat16(): this;
}

/** Some module. It can be called with anything, and any attribute that it may have is `any`. */
export interface AnyModule extends Module {
  (...args: any[]): AnyRef;
  [name: string]: any;
}

/** A module that maps a tensor to a tensor: `Linear`, `ResNet`, a `Sequential` that ends in a layer. */
export type Network = Module & ((input: TensorLike) => Ref<Tensor>);

/** Modules of `torch.nn` that map one tensor to another. */
export interface Layer<N extends string> extends Module {
  readonly [is]: { readonly [K in N | "torch.nn.Module"]: true };
  (input: TensorLike | Kw<{ input: TensorLike }>): Ref<Tensor>;
}
