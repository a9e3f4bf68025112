/** torchvision: the residual networks. */
import type { AnyRef, Bool, Int, is, Is, Kw, PyInt, PyModule, Ref, Seq } from "./core.ts";
import type { Module, ModuleLike } from "./module.ts";
import type { AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Linear, MaxPool2d, ReLU, Sequential } from "./nn.ts";
import type { Tensor } from "./tensor.ts";
import type { TensorLike } from "./values.ts";

/** A residual network for images, NCHW. Its parts can be replaced by any module. */
export interface ResNet extends Module {
  readonly [is]: { "torchvision.models.ResNet": true; "torch.nn.Module": true };
  (x: TensorLike | Kw<{ x: TensorLike }>): Ref<Tensor>;
  get conv1(): Ref<Conv2d>;
  set conv1(value: ModuleLike);
  get bn1(): Ref<BatchNorm2d>;
  set bn1(value: ModuleLike);
  get relu(): Ref<ReLU>;
  set relu(value: ModuleLike);
  get maxpool(): Ref<MaxPool2d>;
  set maxpool(value: ModuleLike);
  get layer1(): Ref<Sequential<Ref<Tensor>>>;
  set layer1(value: ModuleLike);
  get layer2(): Ref<Sequential<Ref<Tensor>>>;
  set layer2(value: ModuleLike);
  get layer3(): Ref<Sequential<Ref<Tensor>>>;
  set layer3(value: ModuleLike);
  get layer4(): Ref<Sequential<Ref<Tensor>>>;
  set layer4(value: ModuleLike);
  get avgpool(): Ref<AdaptiveAvgPool2d>;
  set avgpool(value: ModuleLike);
  /** The head: 1000 classes, unless made otherwise. */
  get fc(): Ref<Linear>;
  set fc(value: ModuleLike);
  readonly inplanes: PyInt;
  readonly dilation: PyInt;
  readonly groups: PyInt;
  readonly base_width: PyInt;
}

interface ResNet_Opt<W extends string> {
  /** Trained weights, downloaded where they are not cached; random ones by default. */
  weights?: W | Is<"torchvision.models.WeightsEnum"> | null;
  /** Whether the download shows its progress; true by default. */
  progress?: Bool;
  num_classes?: Int;
  zero_init_residual?: Bool;
  groups?: Int;
  width_per_group?: Int;
  replace_stride_with_dilation?: Seq<Bool> | null;
  norm_layer?: AnyRef | null;
}

/** The module `torchvision.models`. */
export interface Models extends PyModule {
  resnet18(kw?: Kw<ResNet_Opt<"DEFAULT" | "IMAGENET1K_V1">>): Ref<ResNet>;
  resnet34(kw?: Kw<ResNet_Opt<"DEFAULT" | "IMAGENET1K_V1">>): Ref<ResNet>;
  resnet50(kw?: Kw<ResNet_Opt<"DEFAULT" | "IMAGENET1K_V1" | "IMAGENET1K_V2">>): Ref<ResNet>;
}

/** The module `torchvision`. */
export interface Torchvision extends PyModule {
  readonly models: Models;
  readonly datasets: AnyRef;
  readonly io: AnyRef;
  readonly ops: AnyRef;
  readonly transforms: AnyRef;
  readonly utils: AnyRef;
}
