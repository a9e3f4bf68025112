/** torch.Tensor. */
import type {
  AnyRef,
  Bool,
  Float,
  Int,
  is,
  item,
  KwIn,
  Kw,
  Maybe,
  PyBool,
  PyCallback,
  PyInt,
  PyNone,
  PyNumber,
  PyObject,
} from "./core.ts";
import type { PyTuple, Ref, Scalar, Seq, Str, Tup } from "./core.ts";
import type {
  Device,
  DeviceLike,
  Dims,
  DType,
  DTypeLike,
  Extent,
  GeneratorLike,
  Layout,
  LayoutLike,
} from "./values.ts";
import type { MemoryFormatLike, Operand, Size, Sized, TensorLike } from "./values.ts";

/** Takes a hook away. */
export interface RemovableHandle extends PyObject<{ "torch.utils.hooks.RemovableHandle": true }> {
  remove(): PyNone;
}

/** The result of a minimum or maximum along a dimension, a sort, or a top-k. */
export type ValuesAndIndices = Tup<[Tensor, Tensor]> & {
  readonly values: Ref<Tensor>;
  readonly indices: Ref<Tensor>;
};

interface Copy_Opt {
  non_blocking?: Bool;
  copy?: Bool;
  memory_format?: MemoryFormatLike | null;
}
interface to_Opt extends Copy_Opt {
  device?: DeviceLike | null;
  dtype?: DTypeLike | null;
}
interface backward_Opt {
  gradient?: TensorLike | null;
  retain_graph?: Bool | null;
  create_graph?: Bool;
  inputs?: Seq<TensorLike> | TensorLike | null;
}
interface new_Opt {
  dtype?: DTypeLike | null;
  layout?: LayoutLike | null;
  device?: DeviceLike | null;
  pin_memory?: Bool | null;
  requires_grad?: Bool | null;
}
interface cuda_Opt {
  device?: DeviceLike | null;
  non_blocking?: Bool;
  memory_format?: MemoryFormatLike;
}
interface MemoryFormat_Opt {
  memory_format?: MemoryFormatLike;
}
interface Reduce_Opt {
  dim?: Int | null;
  keepdim?: Bool;
}
interface DType_Opt {
  dtype?: DTypeLike | null;
}
interface Sum_Opt extends DType_Opt {
  keepdim?: Bool;
}
interface Sum_Kw extends Sum_Opt {
  dim: Extent | null;
}
interface Extreme_Kw {
  dim: Int;
  keepdim?: Bool;
}
interface AnyAll_Opt {
  dim?: Extent | null;
  keepdim?: Bool;
}
interface Spread_Opt {
  dim?: Extent | null;
  correction?: Scalar | null;
  keepdim?: Bool;
}
interface norm_Opt {
  p?: Float | Str | null;
  dim?: Extent | null;
  keepdim?: Bool;
  dtype?: DTypeLike | null;
}
interface Softmax_Kw extends DType_Opt {
  dim: Int;
}
interface clamp_Opt {
  min?: Operand | null;
  max?: Operand | null;
}
interface flatten_Opt {
  start_dim?: Int;
  end_dim?: Int;
}
interface topk_Opt {
  dim?: Int;
  largest?: Bool;
  sorted?: Bool;
}
interface sort_Opt {
  stable?: Bool | null;
  dim?: Int;
  descending?: Bool;
}
interface close_Opt {
  rtol?: Float;
  atol?: Float;
  equal_nan?: Bool;
}
interface Alpha_Opt {
  alpha?: Scalar;
}
interface Rounding_Opt {
  rounding_mode?: "trunc" | "floor" | null;
}
interface normal_Opt {
  mean?: Float;
  std?: Float;
  generator?: GeneratorLike | null;
}
interface uniform_Opt {
  from?: Float;
  to?: Float;
  generator?: GeneratorLike | null;
}

/** An array of numbers in the worker, on any device, that gradients may flow through. */
export interface Tensor extends PyObject<{ "torch.Tensor": true }> {
  /** A method that is not declared here. */
  readonly [name: string]: any;
  readonly [item]: Tensor;
  /** Under noUncheckedIndexedAccess other indices may be undefined for TypeScript; write `x[i]!`. */
  readonly [index: number]: Ref<Tensor>;
  get 0(): Ref<Tensor>;
  set 0(value: Operand);
  get 1(): Ref<Tensor>;
  set 1(value: Operand);
  get 2(): Ref<Tensor>;
  set 2(value: Operand);
  get "-1"(): Ref<Tensor>;
  set "-1"(value: Operand);
  [Symbol.asyncIterator](): AsyncIterator<Tensor>;

  readonly shape: Ref<Size>;
  readonly dtype: Ref<DType>;
  readonly device: Ref<Device>;
  readonly layout: Ref<Layout>;
  readonly ndim: PyInt;
  readonly nbytes: PyInt;
  readonly is_cuda: PyBool;
  readonly is_leaf: PyBool;
  get requires_grad(): PyBool;
  set requires_grad(value: Bool);
  /** The accumulated gradient. It is None before the first backward. */
  get grad(): Maybe<Tensor>;
  set grad(value: TensorLike | null);
  get data(): Ref<Tensor>;
  set data(value: TensorLike);
  readonly T: Ref<Tensor>;
  readonly mT: Ref<Tensor>;

  /** The only element. `await` gives a number, a boolean where the dtype is bool, or a bigint past 2^53. */
  item(): PyNumber;
  /** A nested list of Python numbers: `await py.js(x.tolist())`. Prefer `py.ndarray(x)`. */
  tolist(): AnyRef;
  numpy(kw?: Kw<{ force?: Bool }>): AnyRef;
  size(): Ref<Size>;
  size(dim: Int | KwIn<{ dim: Int }>): PyInt;
  stride(): Ref<PyTuple<PyInt>>;
  stride(dim: Int | KwIn<{ dim: Int }>): PyInt;
  dim(): PyInt;
  numel(): PyInt;
  element_size(): PyInt;
  data_ptr(): PyInt;
  is_contiguous(memory_format?: Kw<MemoryFormat_Opt>): PyBool;
  is_floating_point(): PyBool;

  /** Calls `hook` when its gradient is there. The hook may give another one. */
  register_hook(hook: PyCallback<[grad: Tensor], TensorLike | null | undefined | void>): Ref<RemovableHandle>;
  /**
   * Adds the gradients of this tensor to `grad` of the leaves. The tensor must be a scalar unless `gradient` is given.
   */
  backward(
    gradient?: TensorLike | null | Kw<backward_Opt>,
    retain_graph?: Bool | null | Kw<backward_Opt>,
    create_graph?: Bool | Kw<backward_Opt>,
    inputs?: Seq<TensorLike> | TensorLike | null | Kw<backward_Opt>,
  ): PyNone;
  /** The same data, cut off from the graph. */
  detach(): Ref<Tensor>;
  detach_(): Ref<Tensor>;
  requires_grad_(requires_grad?: Bool | Kw<{ requires_grad?: Bool }>): Ref<Tensor>;
  retain_grad(): PyNone;

  to(
    dtype: DTypeLike | TensorLike,
    non_blocking?: Bool | KwIn<Copy_Opt>,
    copy?: Bool | KwIn<Copy_Opt>,
    kw?: KwIn<Copy_Opt>,
  ): Ref<Tensor>;
  /** Moves it to another device, or converts it to another dtype. It is the same tensor where neither changes. */
  to(
    device?: DeviceLike | null | KwIn<to_Opt>,
    dtype?: DTypeLike | null | KwIn<to_Opt>,
    non_blocking?: Bool | KwIn<to_Opt>,
    copy?: Bool | KwIn<to_Opt>,
    kw?: KwIn<to_Opt>,
  ): Ref<Tensor>;
  cpu(kw?: Kw<MemoryFormat_Opt>): Ref<Tensor>;
  cuda(device?: DeviceLike | null | Kw<cuda_Opt>, non_blocking?: Bool | Kw<cuda_Opt>, kw?: Kw<cuda_Opt>): Ref<Tensor>;
  /** Converts to float32. */
  float(kw?: Kw<MemoryFormat_Opt>): Ref<Tensor>;
  /** Converts to float64. */
  double(kw?: Kw<MemoryFormat_Opt>): Ref<Tensor>;
  /** Converts to float16. */
  half(kw?: Kw<MemoryFormat_Opt>): Ref<Tensor>;
  bfloat16(kw?: Kw<MemoryFormat_Opt>): Ref<Tensor>;
  /** Converts to int64. */
  long(kw?: Kw<MemoryFormat_Opt>): Ref<Tensor>;
  /** Converts to int32. */
  int(kw?: Kw<MemoryFormat_Opt>): Ref<Tensor>;
  bool(kw?: Kw<MemoryFormat_Opt>): Ref<Tensor>;
  type_as(other: TensorLike | Kw<{ other: TensorLike }>): Ref<Tensor>;

  /** Another tensor on the same data, with its dimensions in another order. */
  permute(...dims: Dims): Ref<Tensor>;
  transpose(dim0: Int, dim1: Int): Ref<Tensor>;
  contiguous(kw?: Kw<MemoryFormat_Opt>): Ref<Tensor>;
  reshape(...shape: Dims): Ref<Tensor>;
  view(dtype: DTypeLike): Ref<Tensor>;
  view(...size: Dims): Ref<Tensor>;
  view_as(other: TensorLike): Ref<Tensor>;
  expand(...size: Dims): Ref<Tensor>;
  repeat(...repeats: Dims): Ref<Tensor>;
  flatten(start_dim?: Int | Kw<flatten_Opt>, end_dim?: Int | Kw<flatten_Opt>): Ref<Tensor>;
  unsqueeze(dim: Int | Kw<{ dim: Int }>): Ref<Tensor>;
  squeeze(dim?: Extent | Kw<{ dim?: Extent }>): Ref<Tensor>;
  movedim(source: Extent, destination: Extent): Ref<Tensor>;
  split(split_size: Extent, dim?: Int | Kw<{ dim?: Int }>): Ref<PyTuple<Tensor>>;
  chunk(chunks: Int, dim?: Int | Kw<{ dim?: Int }>): Ref<PyTuple<Tensor>>;
  unbind(dim?: Int | Kw<{ dim?: Int }>): Ref<PyTuple<Tensor>>;

  add(other: Operand, kw?: Kw<Alpha_Opt>): Ref<Tensor>;
  add_(other: Operand, kw?: Kw<Alpha_Opt>): Ref<Tensor>;
  sub(other: Operand, kw?: Kw<Alpha_Opt>): Ref<Tensor>;
  sub_(other: Operand, kw?: Kw<Alpha_Opt>): Ref<Tensor>;
  mul(other: Operand): Ref<Tensor>;
  mul_(other: Operand): Ref<Tensor>;
  div(other: Operand, kw?: Kw<Rounding_Opt>): Ref<Tensor>;
  div_(other: Operand, kw?: Kw<Rounding_Opt>): Ref<Tensor>;
  pow(exponent: Operand): Ref<Tensor>;
  matmul(other: TensorLike): Ref<Tensor>;
  mm(mat2: TensorLike): Ref<Tensor>;
  neg(): Ref<Tensor>;
  abs(): Ref<Tensor>;
  exp(): Ref<Tensor>;
  log(): Ref<Tensor>;
  log1p(): Ref<Tensor>;
  sqrt(): Ref<Tensor>;
  square(): Ref<Tensor>;
  sigmoid(): Ref<Tensor>;
  tanh(): Ref<Tensor>;
  relu(): Ref<Tensor>;
  floor(): Ref<Tensor>;
  round(kw?: Kw<{ decimals?: Int }>): Ref<Tensor>;
  clamp(min: Operand | null | Kw<clamp_Opt>, max?: Operand | null | Kw<clamp_Opt>): Ref<Tensor>;
  clamp_(min: Operand | null | Kw<clamp_Opt>, max?: Operand | null | Kw<clamp_Opt>): Ref<Tensor>;

  eq(other: Operand): Ref<Tensor>;
  ne(other: Operand): Ref<Tensor>;
  lt(other: Operand): Ref<Tensor>;
  le(other: Operand): Ref<Tensor>;
  gt(other: Operand): Ref<Tensor>;
  ge(other: Operand): Ref<Tensor>;
  isnan(): Ref<Tensor>;
  isinf(): Ref<Tensor>;
  isfinite(): Ref<Tensor>;
  logical_and(other: TensorLike): Ref<Tensor>;
  logical_not(): Ref<Tensor>;
  /** Whether both have the same size and elements. */
  equal(other: TensorLike): PyBool;
  allclose(
    other: TensorLike,
    rtol?: Float | Kw<close_Opt>,
    atol?: Float | Kw<close_Opt>,
    equal_nan?: Bool | Kw<close_Opt>,
  ): PyBool;

  sum(kw?: KwIn<DType_Opt>): Ref<Tensor>;
  sum(dim: Extent | null | KwIn<Sum_Kw>, keepdim?: Bool | KwIn<Sum_Opt>, kw?: KwIn<DType_Opt>): Ref<Tensor>;
  mean(kw?: KwIn<DType_Opt>): Ref<Tensor>;
  mean(dim: Extent | null | KwIn<Sum_Kw>, keepdim?: Bool | KwIn<Sum_Opt>, kw?: KwIn<DType_Opt>): Ref<Tensor>;
  /** The standard deviation. `correction` is 1 by default. */
  std(dim?: Extent | null | KwIn<Spread_Opt>, kw?: KwIn<Omit<Spread_Opt, "dim">>): Ref<Tensor>;
  var(dim?: Extent | null | KwIn<Spread_Opt>, kw?: KwIn<Omit<Spread_Opt, "dim">>): Ref<Tensor>;
  norm(
    p?: Float | Str | null | Kw<norm_Opt>,
    dim?: Extent | null | Kw<norm_Opt>,
    keepdim?: Bool | Kw<norm_Opt>,
    dtype?: DTypeLike | null | Kw<norm_Opt>,
  ): Ref<Tensor>;
  argmax(dim?: Int | null | Kw<Reduce_Opt>, keepdim?: Bool | Kw<Reduce_Opt>): Ref<Tensor>;
  argmin(dim?: Int | null | Kw<Reduce_Opt>, keepdim?: Bool | Kw<Reduce_Opt>): Ref<Tensor>;
  max(other: TensorLike): Ref<Tensor>;
  max(dim: Int | KwIn<Extreme_Kw>, keepdim?: Bool | KwIn<{ keepdim?: Bool }>): Ref<ValuesAndIndices>;
  max(): Ref<Tensor>;
  min(other: TensorLike): Ref<Tensor>;
  min(dim: Int | KwIn<Extreme_Kw>, keepdim?: Bool | KwIn<{ keepdim?: Bool }>): Ref<ValuesAndIndices>;
  min(): Ref<Tensor>;
  any(dim?: Extent | null | Kw<AnyAll_Opt>, keepdim?: Bool | Kw<AnyAll_Opt>): Ref<Tensor>;
  all(dim?: Extent | null | Kw<AnyAll_Opt>, keepdim?: Bool | Kw<AnyAll_Opt>): Ref<Tensor>;
  cumsum(dim: Int | Kw<Softmax_Kw>, kw?: Kw<DType_Opt>): Ref<Tensor>;
  softmax(dim: Int | Kw<Softmax_Kw>, dtype?: DTypeLike | null | Kw<DType_Opt>): Ref<Tensor>;
  log_softmax(dim: Int | Kw<Softmax_Kw>, dtype?: DTypeLike | null | Kw<DType_Opt>): Ref<Tensor>;
  topk(
    k: Int | Kw<topk_Opt & { k: Int }>,
    dim?: Int | Kw<topk_Opt>,
    largest?: Bool | Kw<topk_Opt>,
    sorted?: Bool | Kw<topk_Opt>,
  ): Ref<ValuesAndIndices>;
  /** A stable sort needs all its arguments by keyword: `x.sort(kw({ stable: true, dim: 0 }))`. */
  sort(dim?: Int | Kw<sort_Opt>, descending?: Bool | Kw<Pick<sort_Opt, "descending">>): Ref<ValuesAndIndices>;
  argsort(dim?: Int | Kw<sort_Opt>, descending?: Bool | Kw<Pick<sort_Opt, "descending">>): Ref<Tensor>;

  index_select(dim: Int, index: TensorLike): Ref<Tensor>;
  gather(dim: Int, index: TensorLike, kw?: Kw<{ sparse_grad?: Bool }>): Ref<Tensor>;
  masked_fill(mask: TensorLike, value: Operand): Ref<Tensor>;
  masked_select(mask: TensorLike): Ref<Tensor>;

  clone(kw?: Kw<{ memory_format?: MemoryFormatLike | null }>): Ref<Tensor>;
  /** Overwrites the elements with those of another tensor. */
  copy_(other: TensorLike, non_blocking?: Bool | Kw<{ non_blocking?: Bool }>): Ref<Tensor>;
  zero_(): Ref<Tensor>;
  fill_(value: Operand): Ref<Tensor>;
  normal_(mean?: Float | Kw<normal_Opt>, std?: Float | Kw<normal_Opt>, kw?: Kw<normal_Opt>): Ref<Tensor>;
  uniform_(from?: Float | Kw<uniform_Opt>, to?: Float | Kw<uniform_Opt>, kw?: Kw<uniform_Opt>): Ref<Tensor>;
  new_zeros(...size: Sized<new_Opt>): Ref<Tensor>;
}

/** A tensor that a module learns. */
export interface Parameter extends Tensor {
  readonly [is]: { "torch.nn.Parameter": true; "torch.Tensor": true };
}
