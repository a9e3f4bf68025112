/** The cases' imports: the package's entry and its core types, and a worker that never runs. */
import type { Worker } from "torchwire";

export { kw } from "torchwire";
export type * from "../../bridge/types/core.ts";

export declare const worker: Worker;

/** Compiles only where both types are one and the same. */
export declare function same<A, B>(yes: Same<A, B>): void;
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- two generic functions are compared as they are written
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
