/** Python functions that `worker.function` makes. */
import type { AnyRef, Callable, PyNone, PyObject } from "./core.ts";

/** An argument: a reference of that type, or what `await` gives of one. */
type Argument<T> = T | AnyRef | (T extends PromiseLike<infer V> ? V : never);

/** The result of a call: what the function returned, where that was one reference. */
type Called<R> = R extends AnyRef ? AnyRef : R extends PyObject<any> ? R : [R] extends [void | null] ? PyNone : AnyRef;

/** A reference to a Python function with the parameters `A`. */
export interface PyFunction<A extends readonly unknown[], R> extends Callable<{ function: true }> {
  (...args: { readonly [K in keyof A]: Argument<A[K]> }): Called<R>;
}
