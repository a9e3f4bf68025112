/**
 * Stacks, taken and read so that nothing throws and nothing of the program's own is changed. A program may have frozen `Error`, set its limit
 * to 0, or prepare stacks in a way of its own, which may give anything or throw: then a stack has no text, and an operation no line.
 */

/** A stack that V8 has recorded and not yet formatted. `textOf` reads it. */
export interface CallSite {
  readonly stack?: string;
}

type Any = (...args: never[]) => unknown;

// As it is before the program takes it away, or puts another in its place.
const { captureStackTrace: capture } = Error as { captureStackTrace?(this: void, holder: object, above: Any): void };

/** The stack from the caller of `above` on, of at most `limit` frames. */
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

/** Gives `error` the stack of where it is now, from the caller of `above` on, as it gets one when it is made. */
export function retakeStack(error: Error, above: Any): void {
  try {
    capture?.(error, above);
  } catch {
    // It keeps the one it has.
  }
}

/** What `read` makes of the frames from the caller of `above` on; undefined where the program does not let us have them. */
export function readFrames<T>(limit: number, above: Any, read: (frames: NodeJS.CallSite[]) => T): T | undefined {
  let result: T | undefined;
  try {
    const prepare = (_: unknown, frames: NodeJS.CallSite[]): void => void (result = read(frames));
    withProperty("prepareStackTrace", prepare, () => void takeStack(limit, above).stack);
  } catch {
    // It is the program's own way that threw, as ours could not be put in its place.
  }
  return result;
}

/** The text of a stack: the program's own, which may know source maps, or V8's where that is no text with a line in it. */
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
      // Then it is ours to do.
    }
    return ["Error", ...frames.map(lineOf)].join("\n");
  };
}

const lineOf = (frame: NodeJS.CallSite): string =>
  `    at ${frame.getFunctionName() ?? "<anonymous>"} (${frame.getFileName()}:${frame.getLineNumber()}:${frame.getColumnNumber()})`;

/** Runs `run` while a property of `Error` is `value`, where it can be, and puts back what was there. */
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
