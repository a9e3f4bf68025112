/** `torchwire/flux`: Flux's losses and optimisers by Flux's names. */
import "../../bridge/platform.ts";

export * from "./losses.ts";
export * from "./optimizers.ts";
