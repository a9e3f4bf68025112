/**
 * Takes and reads stacks. Nothing here throws, and nothing of the program's own is changed. A program may have frozen
 * `Error`, set its limit to 0, or prepare stacks in a way of its own that gives anything or throws: then a stack has no
 * text, and an operation no line.
 */

/** A stack that V8 has recorded and not formatted yet. `textOf` reads it. */
export interface CallSite {
  readonly stack?: string;
}

type Any = (...args: never[]) => unknown;

// Taken now, before the program can replace it.
const { captureStackTrace: capture } = Error as { captureStackTrace?(this: void, holder: object, above: Any): void };

/** The stack from the caller of `above` on, with at most `limit` frames. */
export function takeStack(limit: number, above: Any): CallSite {
  try {
    return withProperty("stackTraceLimit", limit, () => {
      if (capture === undefined) return new Error("here");
      const site: CallSite = {};
      capture(site, above);
      return site;
    });
  } catch {
    return {};
  }
}

/** Gives `error` a new stack, from the caller of `above` on. */
export function retakeStack(error: Error, above: Any): void {
  try {
    capture?.(error, above);
  } catch {
    // It keeps the stack that it has.
  }
}

/** The result of `read` for the frames from the caller of `above` on; undefined where the program hides them. */
export function readFrames<T>(limit: number, above: Any, read: (frames: NodeJS.CallSite[]) => T): T | undefined {
  let result: T | undefined;
  try {
    const prepare = (_: unknown, frames: NodeJS.CallSite[]): void => void (result = read(frames));
    withProperty("prepareStackTrace", prepare, () => void takeStack(limit, above).stack);
  } catch {
    // The program's own way of preparing stacks threw, because ours could not be put in its place.
  }
  return result;
}

/**
 * The text of a stack. The program's own way comes first, because it may know source maps; V8's follows where that
 * gives no lines.
 */
export function textOf(site: CallSite): string | undefined {
  try {
    const stack: unknown = withProperty("prepareStackTrace", prepareBy(ownWay()), () => site.stack);
    return typeof stack === "string" ? stack : undefined;
  } catch {
    return undefined;
  }
}

function ownWay(): unknown {
  try {
    return Reflect.get(Error, "prepareStackTrace") as unknown;
  } catch {
    return () => undefined;
  }
}

function prepareBy(own: unknown): unknown {
  if (typeof own !== "function") return own;
  return (error: unknown, frames: NodeJS.CallSite[]): string => {
    try {
      const text: unknown = Reflect.apply(own, Error, [error, frames]);
      if (typeof text === "string" && /:\d+:\d+/.test(text)) return text;
    } catch {
      // Then we format it.
    }
    return ["Error", ...frames.map(lineOf)].join("\n");
  };
}

const lineOf = (frame: NodeJS.CallSite): string =>
  `    at ${frame.getFunctionName() ?? "<anonymous>"} (${frame.getFileName()}:${frame.getLineNumber()}:${frame.getColumnNumber()})`;

/** Runs `run` while a property of `Error` is `value`, if it can be set, and restores the property afterwards. */
export function withProperty<T>(name: "stackTraceLimit" | "prepareStackTrace", value: unknown, run: () => T): T {
  const before = Reflect.getOwnPropertyDescriptor(Error, name);
  const during = before === undefined ? { value, writable: true, configurable: true } : { value };
  const isSet = Reflect.defineProperty(Error, name, during);
  try {
    return run();
  } finally {
    if (isSet && before === undefined) Reflect.deleteProperty(Error, name);
    else if (isSet) Reflect.defineProperty(Error, name, before!);
  }
}
