/**
 * A value on its way from the worker: a Promise that knows whether anybody awaits it. An awaited value is sent for at
 * once; a value that is only held travels with its step. A value that nobody ever awaits is not an unhandled rejection:
 * its error belongs to the lane, which gives it to the next await.
 */
export class Fetched<T> extends Promise<T> {
  #resolve!: (value: T) => void;
  #reject!: (reason: unknown) => void;
  #awaited = false;
  #here: { readonly value: T } | undefined;
  #onAwait: (() => Error | undefined) | undefined;

  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  /** `onAwait` is called when somebody begins to await. Where it gives an error, that await rejects with it. */
  constructor(onAwait: () => Error | undefined) {
    let settle: [(value: T) => void, (reason: unknown) => void];
    super((resolve, reject) => {
      settle = [resolve, reject];
    });
    [this.#resolve, this.#reject] = settle!;
    this.#onAwait = onAwait;
    super.then(undefined, () => undefined);
  }

  /** The value, once it is here. */
  get here(): { readonly value: T } | undefined {
    return this.#here;
  }

  get awaited(): boolean {
    return this.#awaited;
  }

  override then<A = T, B = never>(
    ok?: ((value: T) => A | PromiseLike<A>) | null,
    failed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    const refused = this.#onAwait?.();
    if (refused !== undefined) return Promise.reject<T>(refused).then(ok, failed);
    this.#awaited = true;
    return super.then(ok, failed);
  }

  resolve(value: T): void {
    this.#onAwait = undefined;
    this.#here = { value };
    this.#resolve(value);
  }

  /** `whenThrown` is called when user code is about to get the error: now if it awaits, else when it begins to. */
  reject(reason: unknown, whenThrown?: () => void): void {
    if (this.#awaited) whenThrown?.();
    this.#onAwait = whenThrown as (() => undefined) | undefined;
    this.#reject(reason);
  }
}

/** Calls `use` with a value: at once where it is here, since each wait has its price, and a step has many values. */
export function whenHere<T, R>(value: T | Promise<T>, use: (value: T) => R): R | Promise<R> {
  if (value instanceof Fetched) {
    const here = (value as Fetched<T>).here;
    return here === undefined ? value.then(use) : use(here.value);
  }
  return value instanceof Promise ? value.then(use) : use(value);
}
