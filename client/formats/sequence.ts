import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { shapeText } from "./axes.ts";
import type { Format, FormatContext } from "./format.ts";

export interface SequenceOptions {
  /** True where the model takes [N, T, …], as with `batch_first=True`. Default: false, PyTorch's own [T, N, …]. */
  readonly batchFirst?: boolean;
}

/**
 * A batch of sequences, samples first: [N, T, F] → [T, N, F], PyTorch's default for recurrent networks and
 * transformers. It takes token ids too: [N, T] → [T, N]. It describes a whole batch, because the axis of the samples
 * moves.
 */
export function sequence({ batchFirst = false }: SequenceOptions = {}): Format {
  const swapped = (x: AnyRef, { lead = 0 }: FormatContext): AnyRef =>
    batchFirst ? x : x.transpose(lead, lead + 1).contiguous();
  return {
    name: "sequence",
    batched: true,
    toTorch(x, how) {
      if (how.shape !== undefined && how.shape.length < (how.lead ?? 0) + 2)
        throw new TorchwireError("MISUSE", `sequence takes [N, T, …], not an array of shape ${shapeText(how.shape)}`);
      return swapped(x, how);
    },
    fromTorch: swapped,
  };
}
