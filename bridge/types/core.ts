/**
 * The types of references. Nothing here exists at run time: a reference is a proxy, and the symbols below are names for
 * the type checker alone.
 *
 * Rules for adding a declaration:
 *
 * 1. A parameter asks for a brand, `Is<"torch.Tensor">`, for a plain value, or for both (`Int`, `Str`, …). A result is
 *    a full interface whose `[is]` names its class and the bases that parameters ask for. It is wrapped in `Ref`, or in
 *    `Maybe` where Python may give None. Python's int, float, bool, str and None are `PyInt`, `PyFloat`, … without a
 *    wrapper. `Self` is `this`.
 * 2. The names of parameters are Python's, in Python's order, and optional where Python has a default. Keyword-only
 *    parameters stand in the keywords' interface alone. Try each in the oldest supported torch: its stubs are wrong in
 *    places (they let `torch.tensor` take `dtype` by position).
 * 3. One signature per Python signature: every optional positional parameter, and the last required one, also takes
 *    `Kw<…>`. `X_Opt` holds the optional names, `X_Kw` the required ones too. With R required parameters, add an
 *    overload that ends in `Kw<…>` for each k < R - 1 of them given by position. Where Python itself has overloads, use
 *    `KwIn` instead of `Kw`, merge those that differ in a union only, and put the commonest last: its error is the one
 *    that shows.
 * 4. An attribute that can be set has a getter, which gives a reference, and a setter, which takes a brand.
 * 5. A callable object extends `Callable`, or else TypeScript gives it the `name`, `length`, … of JavaScript's
 *    functions. No base class has a call signature: subclasses would inherit it as an overload, and it would swallow
 *    their errors.
 * 6. Python names such as `then`, `catch`, `finally` and `toString` are not declared: they are ours. `new` is quoted.
 * 7. Networks, layers and optimizers are closed: `model.fcc = layer` is an error with a suggestion. Modules and tensors
 *    are open: PyTorch's have some 1,500 names more than are declared here, and each release has others. A name that is
 *    not declared is `any`, and Python tells of a misspelt one when it runs.
 * 8. A class object is a `PyClass`: callable, and constructible with `new`.
 *
 * A forgotten `await` does not compile in `if (x)`, `x ? a : b`, `x && a` (TS2801), `x > 1`, `x + 1` (TS2365), `x * 1`
 * (TS2362), `x === 1` (TS2367), `switch (x)`, `items[x]`, `for (… of x)`, nor where a number, string or boolean is
 * asked for. TypeScript lets these through, and something else finds them:
 *
 * - `!x`, `while (x)`, `for (; x;)`, `x || a`, and an `if (x)` that mentions x again: the lint rule
 *   no-misused-promises finds them.
 * - `-x` and `${x}`: the lint rules no-unsafe-unary-minus and restrict-template-expressions find them, and they throw
 *   when they run.
 * - `x > y` between two references, and `Number(x)`, throw when they run.
 * - `x === y` between two references, and `x === null`, are false when they run. Write `(await x) === null`.
 * - Anything past the first dot of an `AnyRef` is `any`. Its attributes can be set to every kind of value, and an index
 *   signature has one type for reading and writing. (Another type would be `| undefined` with
 *   noUncheckedIndexedAccess.)
 *
 * These are run-time errors too: `kw` that is not last (where the rest would be right without it), a parameter given
 * both by position and by keyword (unless it is a required one), and None behind a `Maybe`.
 */

export declare const is: unique symbol;
export declare const item: unique symbol;
export declare const entered: unique symbol;
export declare const inst: unique symbol;
declare const kwTag: unique symbol;
declare const kwNames: unique symbol;
declare const kwContext: unique symbol;

/**
 * The base of all references. `B` names its class and bases. Disposing frees the Python object early; scopes free it
 * anyway.
 */
export interface PyObject<B = {}> {
  readonly [is]: B;
  [Symbol.dispose](): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A parameter type: a reference to an instance of the class `N`. */
export interface Is<N extends string> {
  readonly [is]: { readonly [K in N]: true };
}

/** A result: usable at once, and `await` settles it. */
export type Ref<T> = T & PromiseLike<T>;

/** A result that may be None. It is usable at once, at your own risk; `await` tells which it is. */
export type Maybe<T> =
  T extends PromiseLike<infer V> ? Omit<T, "then"> & PromiseLike<V | null> : T & PromiseLike<T | null>;

/** A reference to an item of a container. */
export type Item<T> = T extends PromiseLike<unknown> ? T : Ref<T>;

/** A Python module. PyTorch's have more names than are declared here, and each release has others: those are `any`. */
export interface PyModule extends PyObject<{ module: true }> {
  readonly [name: string]: any;
}

/** An int. `await` gives a number, and a bigint for what a number cannot hold exactly. */
export interface PyInt extends PyObject<{ int: true; float: true }>, PromiseLike<number> {}
export interface PyFloat extends PyObject<{ float: true }>, PromiseLike<number> {}
/** An int or a float: Python decides which. */
export interface PyNumber extends PyObject<{ int: true; float: true }>, PromiseLike<number> {}
export interface PyBool extends PyObject<{ bool: true; int: true; float: true }>, PromiseLike<boolean> {}
export interface PyStr extends PyObject<{ str: true }>, PromiseLike<string> {}
export interface PyNone extends PyObject<{ None: true }>, PromiseLike<null> {}

export type Int = number | bigint | Is<"int">;
export type Float = number | Is<"float">;
export type Bool = boolean | Is<"bool">;
export type Str = string | Is<"str">;
export type Bytes = Uint8Array | Is<"bytes">;
/** Any Python number that is not complex. */
export type Scalar = number | bigint | boolean | Is<"float">;

/** A function that Python calls: one of the program, which may be async, or a reference to one of Python's. */
export type PyCallback<A extends readonly unknown[], R> = ((...args: A) => R | PromiseLike<R>) | Is<"function">;
/** Anything that can be an argument. (Its functions have parameters without types.) */
export type Argument = {} | null | undefined | ((...args: any[]) => unknown);

/** References that `Seq` and `Iter` accept besides arrays. */
export interface SequenceOf<T> {
  readonly [is]: { readonly Sequence: true };
  readonly [item]: T;
}
export interface IterableOf<T> {
  readonly [is]: { readonly Iterable: true };
  readonly [item]: T;
}
export interface MappingOf<V> {
  readonly [is]: { readonly Mapping: true };
  readonly [item]: V;
}
/** The result of `py.tuple`. */
export type TupleOf<T> = SequenceOf<T> & IterableOf<T>;
export type Seq<T> = readonly T[] | SequenceOf<T>;
export type Iter<T> = readonly T[] | IterableOf<T>;
/** A dict with strings as keys: a plain object, or a reference to one. */
export type Mapping<V> = { readonly [key: string]: V; readonly [is]?: never } | MappingOf<V>;

/** A generator or another iterable: `for await` gives its items, settled. */
export interface PyIter<T> extends PyObject<{ Iterable: true }> {
  readonly [item]: T;
  [Symbol.asyncIterator](): AsyncIterator<Awaited<T>>;
}

/** A list. Under noUncheckedIndexedAccess `list[i]` may be undefined for TypeScript; write `list[i]!`. */
export interface PyList<T> extends PyObject<{ list: true; Sequence: true; Iterable: true }> {
  readonly [item]: T;
  readonly [index: number]: Item<T>;
  [Symbol.asyncIterator](): AsyncIterator<Awaited<T>>;
}

/** A tuple of any length. */
export interface PyTuple<T> extends PyObject<{ tuple: true; Sequence: true; Iterable: true }> {
  readonly [item]: T;
  readonly [index: number]: Item<T>;
  [Symbol.asyncIterator](): AsyncIterator<Awaited<T>>;
}

/**
 * A tuple whose items are known one by one. A reference is not a JavaScript iterable: `const { 0: a, 1: b } = pair`.
 */
export type Tup<T extends readonly unknown[]> = PyObject<{ tuple: true; Sequence: true; Iterable: true }> & {
  readonly [item]: T[number];
  [Symbol.asyncIterator](): AsyncIterator<Awaited<T[number]>>;
} & { readonly [K in keyof T as K extends `${number}` ? K : never]: Item<T[K]> };

/** A dict with strings as keys. `py.at(dict, "fc.weight")` gives one value. */
export interface PyDict<V> extends PyObject<{ dict: true; Mapping: true; Iterable: true }> {
  readonly [item]: V;
  keys(): Ref<PyIter<PyStr>>;
  values(): Ref<PyIter<V>>;
  items(): Ref<PyIter<Tup<[PyStr, V]>>>;
  [Symbol.asyncIterator](): AsyncIterator<string>;
}

/** A context manager, for `py.with` and `worker.context`. Entering it gives `T`. */
export interface ContextManager<T = null> extends PyObject<{ ContextManager: true }> {
  readonly [entered]: T;
}

/**
 * The base of callable references. It hides `name` and other members of JavaScript's functions, which no reference has.
 */
export interface Callable<B> extends PyObject<B> {
  readonly name?: never;
  readonly length?: never;
  readonly call?: never;
  readonly bind?: never;
  readonly arguments?: never;
  readonly caller?: never;
}

/** The base of all class objects. `T` is the type of their instances. */
export interface ClassObject<T> extends Callable<{ type: true }> {
  readonly [inst]: T;
  readonly apply?: never;
}

/** A class object: called, or constructed with `new`, with the arguments `A`. */
export interface PyClass<T, A extends readonly unknown[] = any[]> extends ClassObject<T> {
  (...args: A): Ref<T>;
  new (...args: A): Ref<T>;
}

/** A class object with more than one required argument, all of which may be given by name. */
export interface KeywordClass<T, A extends readonly unknown[], K> extends PyClass<T, A> {
  (kw: Kw<K>): Ref<T>;
  new (kw: Kw<K>): Ref<T>;
}

/**
 * A reference that TypeScript knows nothing about: Python's Any. It has every attribute, can be called and constructed,
 * and is accepted wherever a reference is asked for, but never as a number, string or boolean: `await` it first.
 *
 * With noPropertyAccessFromIndexSignature, write `ref["name"]`. `ref as unknown as AnyRef` makes one of any reference,
 * and `py.get(ref, "name")` reads an attribute that is not declared.
 */
export interface AnyRef extends PromiseLike<any> {
  readonly [is]: any;
  readonly [item]: any;
  readonly [entered]: any;
  readonly [inst]: any;
  [Symbol.dispose](): void;
  [Symbol.asyncDispose](): Promise<void>;
  [Symbol.asyncIterator](): AsyncIterator<any>;
  (...args: Argument[]): AnyRef;
  // oxlint-disable-next-line typescript/no-misused-new -- a reference is not a class, but `new` is tolerated on it
  new (...args: Argument[]): AnyRef;
  name: any;
  length: any;
  call: any;
  bind: any;
  apply: any;
  arguments: any;
  caller: any;
  [name: string]: any;
}

/**
 * The result of `kw({…})`. `C` is the type that its place accepts, so that each name is checked within the braces. `C`
 * is the parameter of a method because methods are bivariant: otherwise overriding methods could not narrow their
 * keywords.
 */
export interface KwArgs<out T, C = unknown, out K = keyof T> {
  readonly [kwTag]: T;
  readonly [kwNames]: K;
  [kwContext](accepted: C): void;
}

/** The keywords of a function with one Python signature. */
export type Kw<O> = KwArgs<O, O, keyof O>;

/** The keywords of one overload of several: they take part in choosing it. */
export type KwIn<O> = KwArgs<O, unknown, keyof O>;

/** The type of `kw`. */
export type KwFunction = <const T extends object, C = unknown>(
  options: unknown extends C ? T : NoInfer<C>,
) => KwArgs<unknown extends C ? T : C, C, unknown extends C ? keyof T : keyof C>;
