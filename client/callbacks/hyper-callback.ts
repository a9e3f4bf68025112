import type { HyperAccess } from "../callback/access.ts";
import { CallbackObject, type Callback, type Resolution } from "../callback/callback.ts";

/**
 * The base of callbacks that go on setting hyperparameters. Their order does not matter where they set different ones;
 * where two set the same one, they cannot be used together.
 */
export abstract class HyperCallback extends CallbackObject {
  override readonly resolveConflict = (other: Callback): Resolution | undefined => {
    const theirs = other.access.hyper;
    if (theirs === undefined) return undefined;
    if (!overlap(this.access.hyper!, theirs)) return "either";
    return other instanceof HyperCallback ? "never" : undefined;
  };
}

function overlap(mine: HyperAccess, theirs: HyperAccess): boolean {
  if (mine === "write" || theirs === "write") return true;
  return Object.entries(mine).some(([key, part]) => theirs[key] !== undefined && overlap(part, theirs[key]));
}
