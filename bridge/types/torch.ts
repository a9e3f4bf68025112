/** The module `torch`. */
import type {
  AnyRef,
  Bool,
  ContextManager,
  Float,
  Int,
  Iter,
  Kw,
  KwIn,
  PyBool,
  PyClass,
  PyInt,
  PyModule,
  PyNone,
} from "./core.ts";
import type { PyStr, Ref, Scalar, Seq, Str } from "./core.ts";
import type { Nn } from "./nn.ts";
import type { Optim } from "./optim.ts";
import type { Tensor, ValuesAndIndices } from "./tensor.ts";
import type { DeviceClass, DeviceLike, DType, DTypeLike, Extent, Generator, GeneratorLike } from "./values.ts";
import type {
  LayoutLike,
  MemoryFormat,
  MemoryFormatLike,
  Layout,
  Operand,
  Size,
  Sized,
  TensorData,
  TensorLike,
} from "./values.ts";

interface Factory_Opt {
  out?: TensorLike | null;
  dtype?: DTypeLike | null;
  layout?: LayoutLike | null;
  device?: DeviceLike | null;
  pin_memory?: Bool | null;
  requires_grad?: Bool | null;
}
interface Random_Opt extends Factory_Opt {
  generator?: GeneratorLike | null;
}
interface randint_Kw extends Random_Opt {
  low?: Int;
  high: Int;
  size: Seq<Int>;
}
interface full_Kw extends Factory_Opt {
  size: Seq<Int>;
  fill_value: Scalar;
}
interface arange_Kw extends Factory_Opt {
  start: Scalar;
  end: Scalar;
  step?: Scalar;
}
interface linspace_Kw extends Factory_Opt {
  start: Operand;
  end: Operand;
  steps: Int;
}
interface eye_Opt extends Factory_Opt {
  m?: Int;
}
interface Like_Opt {
  dtype?: DTypeLike | null;
  layout?: LayoutLike | null;
  device?: DeviceLike | null;
  pin_memory?: Bool | null;
  requires_grad?: Bool | null;
  memory_format?: MemoryFormatLike | null;
}
interface RandomLike_Opt extends Like_Opt {
  generator?: GeneratorLike | null;
}
interface tensor_Opt {
  dtype?: DTypeLike | null;
  device?: DeviceLike | null;
  requires_grad?: Bool;
  pin_memory?: Bool;
}
interface tensor_Kw extends tensor_Opt {
  data: TensorData;
}
interface as_tensor_Opt {
  dtype?: DTypeLike | null;
  device?: DeviceLike | null;
}
interface as_tensor_Kw extends as_tensor_Opt {
  data: TensorData;
}
interface cat_Opt {
  dim?: Int;
  out?: TensorLike | null;
}
interface cat_Kw extends cat_Opt {
  tensors: Seq<TensorLike>;
}
interface Out_Opt {
  out?: TensorLike | null;
}
interface With_Input {
  input: TensorLike;
}
interface Sum_Opt extends Out_Opt {
  keepdim?: Bool;
  dtype?: DTypeLike | null;
}
interface Sum_Kw extends Sum_Opt {
  dim: Extent | null;
}
interface argmax_Opt extends Out_Opt {
  dim?: Int | null;
  keepdim?: Bool;
}
interface softmax_Kw extends Out_Opt {
  dim: Int;
  dtype?: DTypeLike | null;
}
interface close_Opt {
  rtol?: Float;
  atol?: Float;
  equal_nan?: Bool;
}
interface flatten_Opt {
  start_dim?: Int;
  end_dim?: Int;
}
interface load_Opt {
  map_location?: DeviceLike | { readonly [from: string]: Str } | null;
  pickle_module?: AnyRef | null;
  weights_only?: Bool | null;
  mmap?: Bool | null;
}
interface save_Opt {
  pickle_module?: AnyRef;
  pickle_protocol?: Int;
}
interface autocast_Opt {
  dtype?: DTypeLike | null;
  enabled?: Bool;
  cache_enabled?: Bool | null;
}
type DeviceOrNone = DeviceLike | null;
type DeviceKw = Kw<{ device?: DeviceOrNone }>;

/** The module `torch.cuda`. */
export interface Cuda extends PyModule {
  is_available(): PyBool;
  device_count(): PyInt;
  current_device(): PyInt;
  get_device_name(device?: DeviceOrNone | DeviceKw): PyStr;
  set_device(device: DeviceOrNone | DeviceKw): PyNone;
  /** Waits until everything queued on the device is done. */
  synchronize(device?: DeviceOrNone | DeviceKw): PyNone;
  empty_cache(): PyNone;
  /** The number of bytes. */
  memory_allocated(device?: DeviceOrNone | DeviceKw): PyInt;
  /** The number of bytes. */
  max_memory_allocated(device?: DeviceOrNone | DeviceKw): PyInt;
  manual_seed(seed: Int | Kw<{ seed: Int }>): PyNone;
  manual_seed_all(seed: Int | Kw<{ seed: Int }>): PyNone;
}

/** The module `torch`. */
export interface Torch extends PyModule {
  readonly nn: Nn;
  readonly optim: Optim;
  readonly cuda: Cuda;

  readonly Tensor: PyClass<Tensor>;
  readonly Size: PyClass<Size, [sizes?: Iter<Int>]>;
  readonly Generator: PyClass<Generator, [device?: DeviceLike | Kw<{ device?: DeviceLike }>]>;
  readonly device: DeviceClass;

  readonly float16: Ref<DType>;
  readonly bfloat16: Ref<DType>;
  readonly float32: Ref<DType>;
  readonly float64: Ref<DType>;
  readonly uint8: Ref<DType>;
  readonly int8: Ref<DType>;
  readonly int16: Ref<DType>;
  readonly int32: Ref<DType>;
  readonly int64: Ref<DType>;
  readonly bool: Ref<DType>;
  readonly half: Ref<DType>;
  readonly float: Ref<DType>;
  readonly double: Ref<DType>;
  readonly int: Ref<DType>;
  readonly long: Ref<DType>;
  readonly strided: Ref<Layout>;
  /** NHWC in memory, with NCHW as its shape. */
  readonly channels_last: Ref<MemoryFormat>;
  readonly contiguous_format: Ref<MemoryFormat>;
  readonly preserve_format: Ref<MemoryFormat>;

  /** Makes a tensor with a copy of the data. Its dtype is inferred unless given. */
  tensor(data: TensorData | Kw<tensor_Kw>, kw?: Kw<tensor_Opt>): Ref<Tensor>;
  /** Makes a tensor that shares memory with an array or tensor in the worker. */
  as_tensor(data: TensorData | Kw<as_tensor_Kw>, kw?: Kw<as_tensor_Opt>): Ref<Tensor>;
  /** A tensor that shares memory with a NumPy array. */
  from_numpy(ndarray: AnyRef): Ref<Tensor>;
  zeros(...size: Sized<Factory_Opt>): Ref<Tensor>;
  ones(...size: Sized<Factory_Opt>): Ref<Tensor>;
  /** Makes a tensor without initialising it. */
  empty(...size: Sized<Factory_Opt & { memory_format?: MemoryFormatLike | null }>): Ref<Tensor>;
  full(size: Seq<Int>, fill_value: Scalar | Kw<Omit<full_Kw, "size">>, kw?: Kw<Factory_Opt>): Ref<Tensor>;
  full(kw: Kw<full_Kw>): Ref<Tensor>;
  /** Normally distributed, mean 0, variance 1. */
  randn(...size: Sized<Random_Opt>): Ref<Tensor>;
  /** Evenly distributed in [0, 1). */
  rand(...size: Sized<Random_Opt>): Ref<Tensor>;
  randint(kw: KwIn<randint_Kw>): Ref<Tensor>;
  randint(
    low: Int,
    high: Int,
    size: Seq<Int> | KwIn<Random_Opt & { size: Seq<Int> }>,
    kw?: KwIn<Random_Opt>,
  ): Ref<Tensor>;
  /** Integers in [0, high), or in [low, high). */
  randint(high: Int, size: Seq<Int> | KwIn<Random_Opt & { size: Seq<Int> }>, kw?: KwIn<Random_Opt>): Ref<Tensor>;
  /** The integers in [0, n) in random order. */
  randperm(n: Int | Kw<Random_Opt & { n: Int }>, kw?: Kw<Random_Opt>): Ref<Tensor>;
  arange(kw: KwIn<arange_Kw>): Ref<Tensor>;
  arange(end: Scalar | KwIn<Factory_Opt & { end: Scalar }>, kw?: KwIn<Factory_Opt>): Ref<Tensor>;
  /** Numbers from start to end, without end. */
  arange(
    start: Scalar,
    end: Scalar,
    step?: Scalar | KwIn<Factory_Opt & { step?: Scalar }>,
    kw?: KwIn<Factory_Opt>,
  ): Ref<Tensor>;
  /** `steps` numbers from start to end, with end. */
  linspace(
    start: Operand,
    end: Operand,
    steps: Int | Kw<Factory_Opt & { steps: Int }>,
    kw?: Kw<Factory_Opt>,
  ): Ref<Tensor>;
  linspace(kw: Kw<linspace_Kw>): Ref<Tensor>;
  eye(n: Int | Kw<eye_Opt & { n: Int }>, m?: Int | Kw<eye_Opt>, kw?: Kw<Factory_Opt>): Ref<Tensor>;
  zeros_like(input: TensorLike | Kw<Like_Opt & With_Input>, kw?: Kw<Like_Opt>): Ref<Tensor>;
  ones_like(input: TensorLike | Kw<Like_Opt & With_Input>, kw?: Kw<Like_Opt>): Ref<Tensor>;
  empty_like(input: TensorLike | Kw<Like_Opt & With_Input>, kw?: Kw<Like_Opt>): Ref<Tensor>;
  rand_like(input: TensorLike | Kw<RandomLike_Opt & With_Input>, kw?: Kw<RandomLike_Opt>): Ref<Tensor>;
  randn_like(input: TensorLike | Kw<RandomLike_Opt & With_Input>, kw?: Kw<RandomLike_Opt>): Ref<Tensor>;

  /** Joins tensors along an existing dimension. */
  cat(tensors: Seq<TensorLike> | Kw<cat_Kw>, dim?: Int | Kw<cat_Opt>, kw?: Kw<Out_Opt>): Ref<Tensor>;
  /** Joins tensors along a new dimension. */
  stack(tensors: Seq<TensorLike> | Kw<cat_Kw>, dim?: Int | Kw<cat_Opt>, kw?: Kw<Out_Opt>): Ref<Tensor>;
  where(condition: TensorLike, input: Operand, other: Operand): Ref<Tensor>;
  flatten(
    input: TensorLike | Kw<flatten_Opt & With_Input>,
    start_dim?: Int | Kw<flatten_Opt>,
    end_dim?: Int | Kw<flatten_Opt>,
  ): Ref<Tensor>;

  add(input: Operand, other: Operand, kw?: Kw<Out_Opt & { alpha?: Scalar }>): Ref<Tensor>;
  sub(input: Operand, other: Operand, kw?: Kw<Out_Opt & { alpha?: Scalar }>): Ref<Tensor>;
  mul(input: Operand, other: Operand, kw?: Kw<Out_Opt>): Ref<Tensor>;
  div(input: Operand, other: Operand, kw?: Kw<Out_Opt & { rounding_mode?: "trunc" | "floor" | null }>): Ref<Tensor>;
  matmul(input: TensorLike, other: TensorLike, kw?: Kw<Out_Opt>): Ref<Tensor>;
  mm(input: TensorLike, mat2: TensorLike, kw?: Kw<Out_Opt>): Ref<Tensor>;
  abs(input: TensorLike | Kw<Out_Opt & With_Input>, kw?: Kw<Out_Opt>): Ref<Tensor>;
  exp(input: TensorLike | Kw<Out_Opt & With_Input>, kw?: Kw<Out_Opt>): Ref<Tensor>;
  log(input: TensorLike | Kw<Out_Opt & With_Input>, kw?: Kw<Out_Opt>): Ref<Tensor>;
  sqrt(input: TensorLike | Kw<Out_Opt & With_Input>, kw?: Kw<Out_Opt>): Ref<Tensor>;
  sigmoid(input: TensorLike | Kw<Out_Opt & With_Input>, kw?: Kw<Out_Opt>): Ref<Tensor>;
  tanh(input: TensorLike | Kw<Out_Opt & With_Input>, kw?: Kw<Out_Opt>): Ref<Tensor>;
  relu(input: TensorLike | Kw<With_Input>): Ref<Tensor>;
  isnan(input: TensorLike | Kw<With_Input>): Ref<Tensor>;
  isfinite(input: TensorLike | Kw<With_Input>): Ref<Tensor>;
  /** Whether both have the same size and elements. */
  equal(input: TensorLike, other: TensorLike): PyBool;
  allclose(
    input: TensorLike,
    other: TensorLike,
    rtol?: Float | Kw<close_Opt>,
    atol?: Float | Kw<close_Opt>,
    equal_nan?: Bool | Kw<close_Opt>,
  ): PyBool;

  sum(input: TensorLike, kw?: KwIn<Pick<Sum_Opt, "dtype">>): Ref<Tensor>;
  sum(
    input: TensorLike,
    dim: Extent | null | KwIn<Sum_Kw>,
    keepdim?: Bool | KwIn<Sum_Opt>,
    kw?: KwIn<Sum_Opt>,
  ): Ref<Tensor>;
  mean(input: TensorLike, kw?: KwIn<Pick<Sum_Opt, "dtype" | "out">>): Ref<Tensor>;
  mean(
    input: TensorLike,
    dim: Extent | null | KwIn<Sum_Kw>,
    keepdim?: Bool | KwIn<Sum_Opt>,
    kw?: KwIn<Sum_Opt>,
  ): Ref<Tensor>;
  argmax(
    input: TensorLike | Kw<argmax_Opt & With_Input>,
    dim?: Int | null | Kw<argmax_Opt>,
    keepdim?: Bool | Kw<argmax_Opt>,
  ): Ref<Tensor>;
  max(input: TensorLike, other: TensorLike): Ref<Tensor>;
  max(
    input: TensorLike,
    dim: Int | KwIn<{ dim: Int; keepdim?: Bool }>,
    keepdim?: Bool | KwIn<{ keepdim?: Bool }>,
  ): Ref<ValuesAndIndices>;
  max(input: TensorLike): Ref<Tensor>;
  min(input: TensorLike, other: TensorLike): Ref<Tensor>;
  min(
    input: TensorLike,
    dim: Int | KwIn<{ dim: Int; keepdim?: Bool }>,
    keepdim?: Bool | KwIn<{ keepdim?: Bool }>,
  ): Ref<ValuesAndIndices>;
  min(input: TensorLike): Ref<Tensor>;
  softmax(
    input: TensorLike,
    dim: Int | Kw<softmax_Kw>,
    dtype?: DTypeLike | null | Kw<Omit<softmax_Kw, "dim">>,
  ): Ref<Tensor>;

  /** Computes no gradients. It travels with each batch: `worker.context` and `py.with` take it. */
  readonly no_grad: PyClass<ContextManager, []>;
  readonly enable_grad: PyClass<ContextManager, []>;
  readonly inference_mode: PyClass<ContextManager, [mode?: Bool | Kw<{ mode?: Bool }>]>;
  readonly set_grad_enabled: PyClass<ContextManager, [mode: Bool | Kw<{ mode: Bool }>]>;
  is_grad_enabled(): PyBool;
  readonly autocast: PyClass<
    ContextManager<AnyRef>,
    [
      device_type: Str | Kw<autocast_Opt & { device_type: Str }>,
      dtype?: DTypeLike | null | Kw<autocast_Opt>,
      enabled?: Bool | Kw<autocast_Opt>,
      cache_enabled?: Bool | null | Kw<autocast_Opt>,
    ]
  >;

  /** Seeds every generator, on every device. Prefer the worker's `seed` option. */
  manual_seed(seed: Int | Kw<{ seed: Int }>): Ref<Generator>;
  set_num_threads(num: Int): PyNone;
  get_num_threads(): PyInt;
  is_tensor(obj: unknown): PyBool;
  /** Pickles to a path on the worker's machine. */
  save(obj: unknown, f: Str | AnyRef, kw?: Kw<save_Opt>): PyNone;
  /**
   * Reads a file that `save` wrote. It reads only tensors and plain containers; with `weights_only` false it may run
   * any code.
   */
  load(f: Str | AnyRef, map_location?: load_Opt["map_location"] | Kw<load_Opt>, kw?: Kw<load_Opt>): AnyRef;
}
