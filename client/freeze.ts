import { py, type AnyReference } from "../bridge/py.ts";

/**
 * No parameter of `module`, nor of the modules below it, gets gradients from here on: an optimizer leaves them as they are. Buffers, such as the running
 * statistics of batch normalisation, still move in training mode. Returns the module.
 */
export function freeze<T extends AnyReference>(module: T): T {
  return requireGradients(module, false);
}

/** Every parameter of `module`, and of the modules below it, gets gradients from here on. Returns the module. */
export function unfreeze<T extends AnyReference>(module: T): T {
  return requireGradients(module, true);
}

function requireGradients<T extends AnyReference>(module: T, required: boolean): T {
  const method = py.get(module, "requires_grad_");
  // Both are needed no longer: without a scope around, they would stay until they are garbage-collected.
  method(required)[Symbol.dispose]();
  method[Symbol.dispose]();
  return module;
}
