/**
 * The errors that went to Python: those that functions have thrown, and failures in their logs. Where Python raises one
 * on, whoever awaits gets the error itself.
 */
import type { PythonException } from "../errors/python-exception.ts";

/** Python raises an error on soon, or never. */
const MOST = 256;

export class Thrown {
  readonly #errors = new Map<number, unknown>();
  #last = 0;

  /** Gives the number by which Python tells the error. A failure of a log has one already. */
  note(error: unknown): number {
    for (const [number, known] of this.#errors) if (known === error) return number;
    this.#keep(++this.#last, error);
    return this.#last;
  }

  /** Must be called for the failure of an operation in the log of a call: `id` is its first without a value. */
  noteFailure(id: number, error: unknown): void {
    this.#keep(-id, error);
  }

  /** Must be called when the worker is gone. */
  clear(): void {
    this.#errors.clear();
  }

  /** `exception`, in which each one that began here has its own error. */
  restored<T extends PythonException>(exception: T): T {
    const { thrown, cause, errors } = exception;
    return {
      ...exception,
      ...(thrown !== undefined && this.#errors.has(thrown) && { original: { error: this.#errors.get(thrown) } }),
      cause: cause === null ? null : this.restored(cause),
      ...(errors !== undefined && { errors: errors.map((each) => this.restored(each)) }),
    };
  }

  #keep(number: number, error: unknown): void {
    this.#errors.set(number, error);
    if (this.#errors.size > MOST) this.#errors.delete(this.#errors.keys().next().value!);
  }
}
