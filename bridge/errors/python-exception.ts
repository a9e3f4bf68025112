/** A Python exception, as the worker describes it. */

export interface PythonFrame {
  readonly file: string;
  readonly line: number;
  readonly name: string;
  readonly source: string;
}

export interface PythonException {
  /** The qualified name, `torch.OutOfMemoryError`; a built-in one is bare, `ValueError`. */
  readonly type: string;
  /** The names of its class and all base classes, in Python's method resolution order. */
  readonly mro: readonly string[];
  readonly message: string;
  /** From the outermost call to where it was raised; the worker's own are left out. */
  readonly frames: readonly PythonFrame[];
  readonly notes: readonly string[];
  readonly cause: PythonException | null;
  /** The members of an ExceptionGroup, and of nothing else. */
  readonly errors?: readonly PythonException[] | undefined;
  /** The number by which the program has told Python of an error of its own. */
  readonly thrown?: number | undefined;
  /** That error. */
  readonly original?: { readonly error: unknown } | undefined;
}
