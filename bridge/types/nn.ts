/** torch.nn: layers and losses. */
import type {
  AnyRef,
  Bool,
  ClassObject,
  Float,
  Int,
  is,
  Is,
  Iter,
  KeywordClass,
  Kw,
  Maybe,
  PyBool,
  PyClass,
  PyFloat,
  PyModule,
} from "./core.ts";
import type { PyInt, PyStr, PyTuple, Ref, Seq } from "./core.ts";
import type { Functional } from "./functional.ts";
import type { AnyModule, Layer, Module, ModuleLike } from "./module.ts";
import type { Parameter, Tensor } from "./tensor.ts";
import type { DeviceLike, DTypeLike, Extent, TensorLike } from "./values.ts";

type Device = DeviceLike | null;
type DType = DTypeLike | null;
interface Factory_Opt {
  device?: Device;
  dtype?: DType;
}

/** y = x Wᵀ + b */
export interface Linear extends Layer<"torch.nn.Linear"> {
  get in_features(): PyInt;
  set in_features(value: Int);
  get out_features(): PyInt;
  set out_features(value: Int);
  get weight(): Ref<Parameter>;
  set weight(value: Is<"torch.nn.Parameter">);
  get bias(): Maybe<Parameter>;
  set bias(value: Is<"torch.nn.Parameter"> | null);
}
interface Linear_Opt extends Factory_Opt {
  bias?: Bool;
}
interface Linear_Kw extends Linear_Opt {
  in_features: Int;
  out_features: Int;
}
type LinearClass = KeywordClass<
  Linear,
  [
    in_features: Int,
    out_features: Int | Kw<Omit<Linear_Kw, "in_features">>,
    bias?: Bool | Kw<Linear_Opt>,
    device?: Device | Kw<Linear_Opt>,
    dtype?: DType | Kw<Linear_Opt>,
  ],
  Linear_Kw
>;

/** A convolution over images, NCHW. */
export interface Conv2d extends Layer<"torch.nn.Conv2d"> {
  readonly in_channels: PyInt;
  readonly out_channels: PyInt;
  readonly kernel_size: Ref<PyTuple<PyInt>>;
  readonly stride: Ref<PyTuple<PyInt>>;
  /** A tuple of ints, or the string it was made with. */
  readonly padding: AnyRef;
  readonly dilation: Ref<PyTuple<PyInt>>;
  readonly groups: PyInt;
  readonly padding_mode: PyStr;
  get weight(): Ref<Parameter>;
  set weight(value: Is<"torch.nn.Parameter">);
  get bias(): Maybe<Parameter>;
  set bias(value: Is<"torch.nn.Parameter"> | null);
}
interface Conv2d_Opt extends Factory_Opt {
  stride?: Extent;
  padding?: Extent | "valid" | "same";
  dilation?: Extent;
  groups?: Int;
  bias?: Bool;
  padding_mode?: PaddingMode;
}
interface Conv2d_Kw extends Conv2d_Opt {
  in_channels: Int;
  out_channels: Int;
  kernel_size: Extent;
}
type PaddingMode = "zeros" | "reflect" | "replicate" | "circular";
interface Conv2dClass extends KeywordClass<
  Conv2d,
  [
    in_channels: Int,
    out_channels: Int,
    kernel_size: Extent | Kw<Omit<Conv2d_Kw, "in_channels" | "out_channels">>,
    stride?: Extent | Kw<Conv2d_Opt>,
    padding?: Extent | "valid" | "same" | Kw<Conv2d_Opt>,
    dilation?: Extent | Kw<Conv2d_Opt>,
    groups?: Int | Kw<Conv2d_Opt>,
    bias?: Bool | Kw<Conv2d_Opt>,
    padding_mode?: PaddingMode | Kw<Conv2d_Opt>,
    device?: Device | Kw<Conv2d_Opt>,
    dtype?: DType | Kw<Conv2d_Opt>,
  ],
  Conv2d_Kw
> {
  (in_channels: Int, kw: Kw<Omit<Conv2d_Kw, "in_channels">>): Ref<Conv2d>;
  new (in_channels: Int, kw: Kw<Omit<Conv2d_Kw, "in_channels">>): Ref<Conv2d>;
}

/** Normalises each channel over the batch, and over all batches in evaluation mode. */
export interface BatchNorm2d extends Layer<"torch.nn.BatchNorm2d"> {
  readonly num_features: PyInt;
  get eps(): PyFloat;
  set eps(value: Float);
  get momentum(): Maybe<PyFloat>;
  set momentum(value: Float | null);
  readonly affine: PyBool;
  readonly track_running_stats: PyBool;
  readonly weight: Maybe<Parameter>;
  readonly bias: Maybe<Parameter>;
  readonly running_mean: Maybe<Tensor>;
  readonly running_var: Maybe<Tensor>;
  readonly num_batches_tracked: Maybe<Tensor>;
}
interface BatchNorm_Opt extends Factory_Opt {
  eps?: Float;
  momentum?: Float | null;
  affine?: Bool;
  track_running_stats?: Bool;
  bias?: Bool;
}
type BatchNorm2dClass = PyClass<
  BatchNorm2d,
  [
    num_features: Int | Kw<BatchNorm_Opt & { num_features: Int }>,
    eps?: Float | Kw<BatchNorm_Opt>,
    momentum?: Float | null | Kw<BatchNorm_Opt>,
    affine?: Bool | Kw<BatchNorm_Opt>,
    track_running_stats?: Bool | Kw<BatchNorm_Opt>,
    device?: Device | Kw<BatchNorm_Opt>,
    dtype?: DType | Kw<BatchNorm_Opt>,
    kw?: Kw<Pick<BatchNorm_Opt, "bias">>,
  ]
>;

/** max(x, 0) */
export interface ReLU extends Layer<"torch.nn.ReLU"> {
  readonly inplace: PyBool;
}
type ReLUClass = PyClass<ReLU, [inplace?: Bool | Kw<{ inplace?: Bool }>]>;

/** The greatest value of each window. */
export interface MaxPool2d extends Layer<"torch.nn.MaxPool2d"> {
  /** An int or a tuple of ints, as given. */
  readonly kernel_size: AnyRef;
  readonly stride: AnyRef;
  readonly padding: AnyRef;
  readonly dilation: AnyRef;
  readonly return_indices: PyBool;
  readonly ceil_mode: PyBool;
}
interface MaxPool2d_Opt {
  stride?: Extent | null;
  padding?: Extent;
  dilation?: Extent;
  return_indices?: Bool;
  ceil_mode?: Bool;
}
type MaxPool2dClass = PyClass<
  MaxPool2d,
  [
    kernel_size: Extent | Kw<MaxPool2d_Opt & { kernel_size: Extent }>,
    stride?: Extent | null | Kw<MaxPool2d_Opt>,
    padding?: Extent | Kw<MaxPool2d_Opt>,
    dilation?: Extent | Kw<MaxPool2d_Opt>,
    return_indices?: Bool | Kw<MaxPool2d_Opt>,
    ceil_mode?: Bool | Kw<MaxPool2d_Opt>,
  ]
>;

/** Averages images of any size to this size. */
export interface AdaptiveAvgPool2d extends Layer<"torch.nn.AdaptiveAvgPool2d"> {
  readonly output_size: AnyRef;
}
type OutputSize = Int | null | Seq<Int | null>;
type AdaptiveAvgPool2dClass = PyClass<AdaptiveAvgPool2d, [output_size: OutputSize | Kw<{ output_size: OutputSize }>]>;

/** Joins several dimensions into one; by default all but the first. */
export interface Flatten extends Layer<"torch.nn.Flatten"> {
  readonly start_dim: PyInt;
  readonly end_dim: PyInt;
}
interface Flatten_Opt {
  start_dim?: Int;
  end_dim?: Int;
}
type FlattenClass = PyClass<Flatten, [start_dim?: Int | Kw<Flatten_Opt>, end_dim?: Int | Kw<Flatten_Opt>]>;

/** Zeroes elements at random, with probability `p`, in training mode. */
export interface Dropout extends Layer<"torch.nn.Dropout"> {
  get p(): PyFloat;
  set p(value: Float);
  readonly inplace: PyBool;
}
interface Dropout_Opt {
  p?: Float;
  inplace?: Bool;
}
type DropoutClass = PyClass<Dropout, [p?: Float | Kw<Dropout_Opt>, inplace?: Bool | Kw<Dropout_Opt>]>;

/** Returns its input. */
export interface Identity extends Module {
  readonly [is]: { "torch.nn.Identity": true; "torch.nn.Module": true };
  (input: TensorLike | Kw<{ input: TensorLike }>): Ref<Tensor>;
}

/** Modules one after the other. `R` is the last one's result. */
export interface Sequential<R = AnyRef> extends Module {
  readonly [is]: { "torch.nn.Sequential": true; "torch.nn.Module": true };
  readonly [index: number]: Ref<AnyModule>;
  readonly 0: Ref<AnyModule>;
  readonly 1: Ref<AnyModule>;
  readonly 2: Ref<AnyModule>;
  readonly 3: Ref<AnyModule>;
  readonly "-1": Ref<AnyModule>;
  (input: unknown): R;
  append(module: ModuleLike | Kw<{ module: ModuleLike }>): Ref<Sequential>;
}
/** A layer that is not declared is `any`. */
type ResultOfLast<M extends readonly unknown[]> = M extends readonly [...unknown[], infer L]
  ? unknown extends L
    ? AnyRef
    : L extends (...args: any) => infer R
      ? R
      : AnyRef
  : AnyRef;
interface SequentialClass extends ClassObject<Sequential> {
  <const M extends readonly ModuleLike[]>(...modules: M): Ref<Sequential<ResultOfLast<M>>>;
  new <const M extends readonly ModuleLike[]>(...modules: M): Ref<Sequential<ResultOfLast<M>>>;
}

type Reduction = "none" | "mean" | "sum";
interface LossCall_Kw {
  input: TensorLike;
  target: TensorLike;
}
interface Loss<N extends string> extends Module {
  readonly [is]: { readonly [K in N | "torch.nn.Module"]: true };
  readonly reduction: PyStr;
  (input: TensorLike, target: TensorLike | Kw<Omit<LossCall_Kw, "input">>): Ref<Tensor>;
  (kw: Kw<LossCall_Kw>): Ref<Tensor>;
}

/** Cross entropy between logits and class indices, or probabilities. */
export interface CrossEntropyLoss extends Loss<"torch.nn.CrossEntropyLoss"> {
  readonly weight: Maybe<Tensor>;
  readonly ignore_index: PyInt;
  readonly label_smoothing: PyFloat;
}
interface CrossEntropyLoss_Opt {
  weight?: TensorLike | null;
  size_average?: Bool | null;
  ignore_index?: Int;
  reduce?: Bool | null;
  reduction?: Reduction;
  label_smoothing?: Float;
}
type CrossEntropyLossClass = PyClass<
  CrossEntropyLoss,
  [
    weight?: TensorLike | null | Kw<CrossEntropyLoss_Opt>,
    size_average?: Bool | null | Kw<CrossEntropyLoss_Opt>,
    ignore_index?: Int | Kw<CrossEntropyLoss_Opt>,
    reduce?: Bool | null | Kw<CrossEntropyLoss_Opt>,
    reduction?: Reduction | Kw<CrossEntropyLoss_Opt>,
    label_smoothing?: Float | Kw<CrossEntropyLoss_Opt>,
  ]
>;

/** The mean of the squared differences. */
export interface MSELoss extends Loss<"torch.nn.MSELoss"> {}
interface MSELoss_Opt {
  size_average?: Bool | null;
  reduce?: Bool | null;
  reduction?: Reduction;
}
type MSELossClass = PyClass<
  MSELoss,
  [
    size_average?: Bool | null | Kw<MSELoss_Opt>,
    reduce?: Bool | null | Kw<MSELoss_Opt>,
    reduction?: Reduction | Kw<MSELoss_Opt>,
  ]
>;

interface Parameter_Opt {
  data?: TensorLike | null;
  requires_grad?: Bool;
}
type ParameterClass = PyClass<
  Parameter,
  [data?: TensorLike | null | Kw<Parameter_Opt>, requires_grad?: Bool | Kw<Parameter_Opt>]
>;

/** The module `torch.nn`. */
export interface Nn extends PyModule {
  readonly functional: Functional;
  readonly init: AnyRef;
  readonly utils: AnyRef;
  readonly Module: PyClass<AnyModule, []>;
  readonly Parameter: ParameterClass;
  readonly Linear: LinearClass;
  readonly Conv2d: Conv2dClass;
  readonly BatchNorm2d: BatchNorm2dClass;
  readonly ReLU: ReLUClass;
  readonly MaxPool2d: MaxPool2dClass;
  readonly AdaptiveAvgPool2d: AdaptiveAvgPool2dClass;
  readonly Flatten: FlattenClass;
  readonly Dropout: DropoutClass;
  readonly Identity: PyClass<Identity>;
  readonly Sequential: SequentialClass;
  readonly ModuleList: PyClass<AnyModule, [modules?: Iter<ModuleLike> | null]>;
  readonly CrossEntropyLoss: CrossEntropyLossClass;
  readonly MSELoss: MSELossClass;
}
