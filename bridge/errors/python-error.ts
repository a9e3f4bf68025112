import { adviceOn } from "./advice.ts";
import { type ErrorCode, TorchwireError } from "./errors.ts";
import { printable } from "./shown.ts";
import { shortSite } from "./site.ts";
import type { PythonException, PythonFrame } from "./python-exception.ts";

export type { PythonFrame } from "./python-exception.ts";

/** The codes of the worker's own errors. */
const CODES: ReadonlyMap<string, ErrorCode> = new Map([
  ["torchwire.LimitError", "LIMIT"],
  ["torchwire.BadDataError", "BAD_DATA"],
]);

/**
 * A Python operation raised: `code` is "PYTHON", or "LIMIT" where its value is past a limit of the wire, or "BAD_DATA"
 * where a file that the worker was to decode is no image. Or it was not
 * run, because an earlier one in its lane had raised: `code` is "NOT_RUN", and that error is the `cause`. Both carry
 * the exception's own fields.
 */
export class PythonError extends TorchwireError {
  override name = "PythonError";
  /** The line that wrote the operation: `path/train.ts:31:9`. */
  readonly site: string | undefined;
  /** The operation, as Python would write it: `Linear(...)`. */
  readonly operation: string;
  readonly #exception: PythonException;
  readonly #errors: readonly PythonError[] | undefined;

  constructor(exception: PythonException, operation: string, site: string | undefined, notRun?: PythonError) {
    super(
      notRun ? "NOT_RUN" : (CODES.get(exception.type) ?? "PYTHON"),
      messageOf(exception, operation, site, notRun !== undefined),
      causeOf(exception, operation, notRun),
    );
    this.#exception = exception;
    this.operation = operation;
    this.site = site;
    this.#errors = notRun?.errors ?? exception.errors?.map((each) => new PythonError(each, operation, undefined));
    this.stack = printable(
      `${this.name}: ${this.message}${site === undefined ? "" : `\n    at ${operation} (${site})`}${traceback(exception)}`,
    );
  }

  /** The exception's class: `torch.OutOfMemoryError`. A built-in one is bare: `ValueError`. */
  get pyType(): string {
    return this.#exception.type;
  }

  /** Its class and all base classes, in Python's method resolution order. */
  get mro(): readonly string[] {
    return this.#exception.mro;
  }

  get pyMessage(): string {
    return this.#exception.message;
  }

  /** Python's traceback, from the outermost call to the line that raised, without the worker's own frames. */
  get frames(): readonly PythonFrame[] {
    return this.#exception.frames;
  }

  get notes(): readonly string[] {
    return this.#exception.notes;
  }

  /** The exceptions in an ExceptionGroup, as many as Python prints; undefined for every other exception. */
  get errors(): readonly PythonError[] | undefined {
    return this.#errors;
  }

  /** Whether Python's `isinstance` would be true: `error.isPython("OSError")`. Built-in names are bare. */
  isPython(type: string): boolean {
    return this.mro.includes(type);
  }

  /** The error for an operation that this one kept from running. */
  notRun(): PythonError {
    return new PythonError(this.#exception, this.operation, this.site, this);
  }
}

function causeOf(exception: PythonException, operation: string, notRun: PythonError | undefined): { cause?: unknown } {
  if (notRun === undefined && exception.original !== undefined) return { cause: exception.original.error };
  const inner = exception.cause;
  const cause =
    notRun ??
    (inner ? (inner.original ? inner.original.error : new PythonError(inner, operation, undefined)) : undefined);
  return cause === undefined ? {} : { cause };
}

function messageOf(exception: PythonException, operation: string, site: string | undefined, notRun: boolean): string {
  const at = site === undefined ? "" : ` at ${shortSite(site)}`;
  const what = `${exception.type}: ${exception.message}`;
  const advice = adviceOn(exception, operation);
  const text = notRun ? `not run, because ${operation} failed${at}: ${what}` : `${what} (in ${operation}${at})`;
  return [text, ...exception.notes, ...members(exception, "  "), ...(advice === undefined ? [] : [advice])].join("\n");
}

/** A line for each exception in a group, with the lines of its own members below it. */
function members({ errors = [] }: PythonException, indent: string): string[] {
  return errors.flatMap((each, i) => [
    `${indent}${i + 1}. ${each.type}: ${each.message.replaceAll("\n", `\n${indent}   `)}`,
    ...each.notes.map((note) => `${indent}   ${note}`),
    ...members(each, `${indent}   `),
  ]);
}

function traceback({ frames }: PythonException): string {
  if (frames.length === 0) return "";
  const lines = frames.map(
    ({ file, line, name, source }) => `    File "${file}", line ${line}, in ${name}\n        ${source}`,
  );
  return `\n    --- Python, most recent call last ---\n${lines.join("\n")}`;
}
