/** Where in the user's program an operation was written. Captured cheaply for every operation, formatted only when an error comes. */
import { readFileSync } from "node:fs";
import { SourceMap, type SourceMapping, type SourceMapPayload } from "node:module";
import { basename, dirname, resolve, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { TorchwireError } from "./errors.ts";

/** A stack that V8 has recorded and not yet formatted. */
export interface CallSite {
  readonly stack?: string;
}

/** Deep enough to reach the user's frame from under a proxy's trap, the log and a helper of ours. */
let depth = 8;

/** Runs `fn`, from which it is further to the user's frame, for call sites and for the stacks of errors. */
export function deep<T>(fn: () => T): T {
  const [before, { stackTraceLimit }] = [depth, Error];
  depth = Error.stackTraceLimit = 24;
  try {
    return fn();
  } finally {
    depth = before;
    Error.stackTraceLimit = stackTraceLimit;
  }
}

export function captureSite(): CallSite {
  const site: CallSite = {};
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = depth;
  Error.captureStackTrace(site, captureSite);
  Error.stackTraceLimit = stackTraceLimit;
  return site;
}

/** The place we are called from, all its callers included, as a key: cheaper than a stack's text. */
export function stackPosition(): string {
  const { stackTraceLimit } = Error;
  const prepare = Object.getOwnPropertyDescriptor(Error, "prepareStackTrace");
  const holder: { stack?: string } = {};
  Error.stackTraceLimit = depth;
  Error.prepareStackTrace = positions;
  Error.captureStackTrace(holder, stackPosition);
  const position = holder.stack!;
  Error.stackTraceLimit = stackTraceLimit;
  if (prepare === undefined) Reflect.deleteProperty(Error, "prepareStackTrace");
  else Object.defineProperty(Error, "prepareStackTrace", prepare);
  return position;
}

function positions(_error: Error, frames: NodeJS.CallSite[]): string {
  let key = "";
  for (const frame of frames) key += `${frame.getFileName()}:${frame.getPosition()};`;
  return key;
}

// From source we are in bridge/, from built output in dist/bridge/, whose source maps lead back to bridge/.
// (In a bundle of CommonJS there is no import.meta.)
const above = dirname(dirname(import.meta.filename ?? __filename));
const packageRoot = basename(above) === "dist" ? dirname(resolve(above)) : above;
const ours = ["bridge", "client", "dist"].map((folder) => resolve(packageRoot, folder) + sep);

/** `path/train.ts:31:9` of the nearest frame that is the user's, or undefined where there is none. */
export function formatSite(site: CallSite | undefined): string | undefined {
  const frame = nearestFrame(site);
  return frame === undefined ? undefined : original(frame.path, frame.line, frame.column);
}

/** Tools that print whatever they are given: test matchers in their messages, and pino's %o. */
const PRINTERS =
  /[\\/]node_modules[\\/](?:chai|loupe|@?vitest|@?jest|jest-[\w-]+|pretty-format|quick-format-unescaped)[\\/]/;

/** True where it is one of those tools that asks, and not the program. */
export function isPrinter(site: CallSite): boolean {
  return PRINTERS.test(nearestFrame(site)?.path ?? "");
}

/** The nearest frame that is not ours. */
function nearestFrame(site: CallSite | undefined): { path: string; line: number; column: number } | undefined {
  for (const text of site?.stack?.split("\n").slice(1) ?? []) {
    const found = /[\s(]((?:file:|\/|[A-Za-z]:\\)[^()]*?):(\d+):(\d+)\)?$/.exec(text);
    if (!found) continue;
    const path = found[1]!.startsWith("file:") ? fileURLToPath(found[1]!) : found[1]!;
    if (!ours.some((folder) => path.startsWith(folder)))
      return { path, line: Number(found[2]), column: Number(found[3]) };
  }
  return undefined;
}

/** `train.ts:31`, for the middle of a sentence. */
export function shortSite(site: string): string {
  return site.slice(Math.max(site.lastIndexOf("/"), site.lastIndexOf("\\")) + 1).replace(/:\d+$/, "");
}

/** Names the line of the program in an error about what was written there. */
export function locate(error: Error): void {
  const site = formatSite(captureSite());
  if (site !== undefined) error.message += ` (at ${shortSite(site)})`;
  // The stack was taken deep inside, and may not reach the program; nor does its text follow the message.
  Error.captureStackTrace(error, locate);
}

/** A copy of an error that many meet, with the line where the program meets it now. */
export function metHere(error: Error): Error {
  const copy = Object.create(Object.getPrototypeOf(error) as object, Object.getOwnPropertyDescriptors(error)) as Error;
  locate(copy);
  return copy;
}

/**
 * What `run` gives. An async function's stack ends at generators, sockets and timers: a TorchwireError that comes out of `run` has the line from which
 * the program called `what` added to its stack, where it does not hold it.
 */
export async function traced<T>(what: string, run: () => Promise<T>, site: CallSite = captureSite()): Promise<T> {
  try {
    return await run();
  } catch (error) {
    addCaller(error, what, site);
    throw error;
  }
}

export function addCaller(error: unknown, what: string, site: CallSite): void {
  const place = formatSite(site);
  if (!(error instanceof TorchwireError) || place === undefined) return;
  const line = place.replace(/\d+$/, "");
  if (error.stack?.includes(line) !== true) error.stack += `\n    at async ${what} (${place})`;
}

/** Adds to an error's message, and to its stack, where the message stands as it was when the error was made. */
export function addToMessage(error: Error, text: string): void {
  const { message, stack } = error;
  error.message += text;
  if (stack !== undefined) error.stack = stack.replace(message, () => error.message);
}

/** A built program runs its .js; its source map leads back to the line that was written. */
function original(path: string, line: number, column: number): string {
  const entry = /\.[cm]?js$/.test(path) ? sourceMapOf(path)?.findEntry(line - 1, column - 1) : undefined;
  if (entry === undefined || !isMapping(entry)) return `${path}:${line}:${column}`;
  const source = entry.originalSource.startsWith("file:")
    ? fileURLToPath(entry.originalSource)
    : fileURLToPath(new URL(entry.originalSource, pathToFileURL(path)));
  return `${source}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
}

const isMapping = (entry: object): entry is SourceMapping => "originalSource" in entry;

const sourceMaps = new Map<string, SourceMap | undefined>();

function sourceMapOf(path: string): SourceMap | undefined {
  if (!sourceMaps.has(path)) sourceMaps.set(path, readSourceMap(path));
  return sourceMaps.get(path);
}

function readSourceMap(path: string): SourceMap | undefined {
  try {
    const url = /^\/\/# sourceMappingURL=(.+)$/m.exec(readFileSync(path, "utf8"))?.[1];
    if (url === undefined) return undefined;
    const inline = /^data:application\/json;(?:charset=utf-8;)?base64,(.*)$/.exec(url)?.[1];
    const text = inline === undefined ? readFileSync(resolve(dirname(path), url), "utf8") : atob(inline);
    return new SourceMap(JSON.parse(text) as SourceMapPayload);
  } catch {
    // No readable map: the line of the .js file is the best there is.
    return undefined;
  }
}
