/**
 * Ambient state of the worker. It belongs to a batch, never to an operation: the worker enters it before the batch and
 * leaves it after, error or not.
 */
import { TorchwireError } from "../errors/errors.ts";

export interface ContextOptions {
  /**
   * "inference" and "no_grad" switch gradients off, as `torch.inference_mode` and `torch.no_grad` do. "grad" switches
   * them on, as `torch.enable_grad` does. Default: the mode outside.
   */
  readonly mode?: "inference" | "no_grad" | "grad";
  /** Modules that are in eval mode inside. Each of their submodules gets its own mode back afterwards. */
  readonly eval?: readonly unknown[];
  /** Modules that are in train mode inside. */
  readonly train?: readonly unknown[];
  /** "fork": random numbers that are drawn inside leave the generators outside untouched. */
  readonly rng?: "fork";
}

/** A call of `worker.context`, as the batches inside it carry it. */
export interface ContextLayer {
  readonly wire: {
    readonly id: number;
    readonly mode: "inference" | "no_grad" | "grad" | null;
    readonly eval: readonly number[];
    readonly train: readonly number[];
    readonly rng: boolean;
  };
  /** Keeps the modules from being finalised while their ids are in use. */
  readonly options: ContextOptions;
}

const MODES = [undefined, "inference", "no_grad", "grad"];

export function contextLayer(
  id: number,
  options: ContextOptions,
  idOf: (value: unknown, path: string) => number,
): ContextLayer {
  const refuse = (what: string, value: unknown, known: string): never => {
    throw new TorchwireError("MISUSE", `context: ${what} is ${JSON.stringify(value)}; it may be ${known}`);
  };
  if (!MODES.includes(options.mode)) refuse("mode", options.mode, `"inference", "no_grad" or "grad"`);
  if (options.rng !== undefined && options.rng !== "fork") refuse("rng", options.rng, `"fork"`);
  const ids = (modules: readonly unknown[] = [], name: string): number[] => {
    // This must be asked first: a reference is not an array, but has every method.
    if (!Array.isArray(modules))
      throw new TorchwireError("MISUSE", `context: ${name} is an array of modules, as in ${name}: [model]`);
    return modules.map((module, i) => idOf(module, `${name}[${i}]`));
  };
  return {
    wire: {
      id,
      mode: options.mode ?? null,
      eval: ids(options.eval, "eval"),
      train: ids(options.train, "train"),
      rng: options.rng === "fork",
    },
    options,
  };
}
