/** torch.nn.functional. */
import type { Bool, Float, Int, Kw, PyModule, Ref } from "./core.ts";
import type { Tensor } from "./tensor.ts";
import type { DTypeLike, Extent, TensorLike } from "./values.ts";

type Reduction = "none" | "mean" | "sum";

interface cross_entropy_Opt {
  weight?: TensorLike | null;
  size_average?: Bool | null;
  ignore_index?: Int;
  reduce?: Bool | null;
  reduction?: Reduction;
  label_smoothing?: Float;
}
interface cross_entropy_Kw extends cross_entropy_Opt {
  input: TensorLike;
  target: TensorLike;
}
interface mse_loss_Opt {
  size_average?: Bool | null;
  reduce?: Bool | null;
  reduction?: Reduction;
  weight?: TensorLike | null;
}
interface mse_loss_Kw extends mse_loss_Opt {
  input: TensorLike;
  target: TensorLike;
}
interface nll_loss_Opt {
  weight?: TensorLike | null;
  size_average?: Bool | null;
  ignore_index?: Int;
  reduce?: Bool | null;
  reduction?: Reduction;
}
interface nll_loss_Kw extends nll_loss_Opt {
  input: TensorLike;
  target: TensorLike;
}
interface relu_Opt {
  inplace?: Bool;
}
interface softmax_Opt {
  dim?: Int | null;
  dtype?: DTypeLike | null;
}
interface dropout_Opt {
  p?: Float;
  training?: Bool;
  inplace?: Bool;
}
interface max_pool2d_Opt {
  stride?: Extent | null;
  padding?: Extent;
  dilation?: Extent;
  ceil_mode?: Bool;
}
interface max_pool2d_Kw extends max_pool2d_Opt {
  input: TensorLike;
  kernel_size: Extent;
}
interface avg_pool2d_Opt {
  stride?: Extent | null;
  padding?: Extent;
  ceil_mode?: Bool;
  count_include_pad?: Bool;
  divisor_override?: Int | null;
}
interface avg_pool2d_Kw extends avg_pool2d_Opt {
  input: TensorLike;
  kernel_size: Extent;
}
interface one_hot_Kw {
  input: TensorLike;
  num_classes?: Int;
}
interface linear_Kw {
  input: TensorLike;
  weight: TensorLike;
  bias?: TensorLike | null;
}
interface With_Input {
  input: TensorLike;
}

/** The module `torch.nn.functional`. */
export interface Functional extends PyModule {
  /** Compares logits with class indices, or with probabilities. */
  cross_entropy(
    input: TensorLike,
    target: TensorLike | Kw<Omit<cross_entropy_Kw, "input">>,
    weight?: TensorLike | null | Kw<cross_entropy_Opt>,
    size_average?: Bool | null | Kw<cross_entropy_Opt>,
    ignore_index?: Int | Kw<cross_entropy_Opt>,
    reduce?: Bool | null | Kw<cross_entropy_Opt>,
    reduction?: Reduction | Kw<cross_entropy_Opt>,
    label_smoothing?: Float | Kw<cross_entropy_Opt>,
  ): Ref<Tensor>;
  cross_entropy(kw: Kw<cross_entropy_Kw>): Ref<Tensor>;
  /** The mean of the squared differences. */
  mse_loss(
    input: TensorLike,
    target: TensorLike | Kw<Omit<mse_loss_Kw, "input">>,
    size_average?: Bool | null | Kw<mse_loss_Opt>,
    reduce?: Bool | null | Kw<mse_loss_Opt>,
    reduction?: Reduction | Kw<mse_loss_Opt>,
    weight?: TensorLike | null | Kw<mse_loss_Opt>,
  ): Ref<Tensor>;
  mse_loss(kw: Kw<mse_loss_Kw>): Ref<Tensor>;
  /** Compares log-probabilities with class indices. */
  nll_loss(
    input: TensorLike,
    target: TensorLike | Kw<Omit<nll_loss_Kw, "input">>,
    weight?: TensorLike | null | Kw<nll_loss_Opt>,
    size_average?: Bool | null | Kw<nll_loss_Opt>,
    ignore_index?: Int | Kw<nll_loss_Opt>,
    reduce?: Bool | null | Kw<nll_loss_Opt>,
    reduction?: Reduction | Kw<nll_loss_Opt>,
  ): Ref<Tensor>;
  nll_loss(kw: Kw<nll_loss_Kw>): Ref<Tensor>;
  relu(input: TensorLike | Kw<relu_Opt & With_Input>, inplace?: Bool | Kw<relu_Opt>): Ref<Tensor>;
  /** Normalises along `dim`, which you must give: its default is deprecated. */
  softmax(
    input: TensorLike | Kw<softmax_Opt & With_Input>,
    dim?: Int | null | Kw<softmax_Opt>,
    kw?: Kw<Pick<softmax_Opt, "dtype">>,
  ): Ref<Tensor>;
  /** The logarithm of softmax, computed at once. */
  log_softmax(
    input: TensorLike | Kw<softmax_Opt & With_Input>,
    dim?: Int | null | Kw<softmax_Opt>,
    kw?: Kw<Pick<softmax_Opt, "dtype">>,
  ): Ref<Tensor>;
  /** Zeroes elements at random, unless `training` is false. */
  dropout(
    input: TensorLike | Kw<dropout_Opt & With_Input>,
    p?: Float | Kw<dropout_Opt>,
    training?: Bool | Kw<dropout_Opt>,
    inplace?: Bool | Kw<dropout_Opt>,
  ): Ref<Tensor>;
  /** The greatest value of each window. max_pool2d_with_indices gives the indices too. */
  max_pool2d(
    input: TensorLike,
    kernel_size: Extent | Kw<Omit<max_pool2d_Kw, "input">>,
    stride?: Extent | null | Kw<max_pool2d_Opt>,
    padding?: Extent | Kw<max_pool2d_Opt>,
    dilation?: Extent | Kw<max_pool2d_Opt>,
    ceil_mode?: Bool | Kw<max_pool2d_Opt>,
  ): Ref<Tensor>;
  max_pool2d(kw: Kw<max_pool2d_Kw>): Ref<Tensor>;
  avg_pool2d(
    input: TensorLike,
    kernel_size: Extent | Kw<Omit<avg_pool2d_Kw, "input">>,
    stride?: Extent | null | Kw<avg_pool2d_Opt>,
    padding?: Extent | Kw<avg_pool2d_Opt>,
    ceil_mode?: Bool | Kw<avg_pool2d_Opt>,
    count_include_pad?: Bool | Kw<avg_pool2d_Opt>,
    divisor_override?: Int | null | Kw<avg_pool2d_Opt>,
  ): Ref<Tensor>;
  avg_pool2d(kw: Kw<avg_pool2d_Kw>): Ref<Tensor>;
  /**
   * Turns class indices into rows of zeros with a one. By default there are as many columns as the greatest index
   * needs.
   */
  one_hot(input: TensorLike | Kw<one_hot_Kw>, num_classes?: Int | Kw<Omit<one_hot_Kw, "input">>): Ref<Tensor>;
  /** y = x Wᵀ + b */
  linear(
    input: TensorLike,
    weight: TensorLike | Kw<Omit<linear_Kw, "input">>,
    bias?: TensorLike | null | Kw<Pick<linear_Kw, "bias">>,
  ): Ref<Tensor>;
  linear(kw: Kw<linear_Kw>): Ref<Tensor>;
}
