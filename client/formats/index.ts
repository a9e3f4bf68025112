/** `torchwire/formats`: how samples become tensors, and tensors samples. */
import "../../bridge/platform.ts";

export { batch, same, type Format, type FormatContext } from "./format.ts";
export { format, type AxesFormat, type FunctionFormat } from "./own.ts";
export { cifar10, image, imagenet, mnist, video, type Normalization, type PixelOptions } from "./pixels.ts";
export { sequence, type SequenceOptions } from "./sequence.ts";
