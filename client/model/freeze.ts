import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { AnyReference } from "../../bridge/reference/py.ts";
import { workerOf } from "../../bridge/worker.ts";
import { described } from "../options/keywords.ts";

/**
 * Lets no parameter of `module`, nor of the modules below it, get gradients from here on: an optimizer leaves them as
 * they are. Buffers, such as the running statistics of batch normalisation, still move in training mode. Returns the
 * module.
 */
export function freeze<T extends AnyReference>(module: T): T {
  return requireGradients(module, false);
}

/** Lets every parameter of `module`, and of the modules below it, get gradients from here on. Returns the module. */
export function unfreeze<T extends AnyReference>(module: T): T {
  return requireGradients(module, true);
}

function requireGradients<T extends AnyReference>(module: T, required: boolean): T {
  const worker = workerOf(module);
  if (worker === undefined)
    throw new TorchwireError("MISUSE", `freeze: ${described(module)} is not a reference to a module`);
  worker.scope(() => void worker.import("torchwire_worker.helpers.fine_tune").require_gradients(module, required));
  return module;
}
