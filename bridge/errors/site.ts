/** Where in the user's program an operation was written. Captured cheaply for every operation, formatted only when an error comes. */
import { AsyncLocalStorage } from "node:async_hooks";
import { readFileSync } from "node:fs";
import { SourceMap, type SourceMapping, type SourceMapPayload } from "node:module";
import { basename, dirname, resolve, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { TorchwireError } from "./errors.ts";
import { type CallSite, readFrames, retakeStack, takeStack, textOf, withProperty } from "./stack.ts";

export type { CallSite };

/** Deep enough to reach the user's frame from under a proxy's trap, the log and a helper of ours. */
let depth = 8;

/** Runs `fn`, from which it is further to the user's frame, for call sites and for the stacks of errors. */
export function deep<T>(fn: () => T): T {
  const before = depth;
  depth = 24;
  try {
    return withProperty("stackTraceLimit", depth, fn);
  } finally {
    depth = before;
  }
}

export const captureSite = (): CallSite => takeStack(depth, captureSite);

/** The place we are called from, all its callers included, as a key: cheaper than a stack's text. Undefined where it cannot be told. */
export function stackPosition(): string | undefined {
  return readFrames(depth, stackPosition, (frames) => {
    let key = "";
    for (const frame of frames) key += `${frame.getFileName()}:${frame.getPosition()};`;
    return key;
  });
}

// From source we are in bridge/errors/, from built output in dist/bridge/errors/, whose source maps lead back to bridge/errors/.
// (In a bundle of CommonJS there is no import.meta.)
const above = dirname(dirname(dirname(import.meta.filename ?? __filename)));
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
  const lines = site === undefined ? undefined : textOf(site)?.split("\n").slice(1);
  for (const text of lines ?? []) {
    const found = /[\s(]((?:file:|\/|[A-Za-z]:\\)[^()]*?):(\d+):(\d+)\)?$/.exec(text);
    if (!found) continue;
    const path = found[1]!.startsWith("file:") ? pathOf(found[1]!) : found[1]!;
    if (path !== undefined && !ours.some((folder) => path.startsWith(folder)))
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
  retakeStack(error, locate);
}

/** A copy of an error that many meet, with the line where the program meets it now. */
export function metHere(error: Error): Error {
  const copy = Object.create(Object.getPrototypeOf(error) as object, Object.getOwnPropertyDescriptors(error)) as Error;
  locate(copy);
  return copy;
}

const callers = new AsyncLocalStorage<CallSite>();

/** From where the program has called what runs `traced`, where something does. */
export const callerSite = (): CallSite | undefined => callers.getStore();

/**
 * What `run` gives. An async function's stack ends at generators, sockets and timers: a TorchwireError that comes out of `run` has the line from which
 * the program called `what` added to its stack, where it does not hold it.
 */
export async function traced<T>(what: string, run: () => Promise<T>, site: CallSite = captureSite()): Promise<T> {
  try {
    // The outermost call is the program's.
    return await (callers.getStore() === undefined ? callers.run(site, run) : run());
  } catch (error) {
    addCaller(error, what, site);
    throw error;
  }
}

export function addCaller(error: unknown, what: string, site: CallSite): void {
  const place = formatSite(site);
  if (!(error instanceof TorchwireError) || place === undefined) return;
  const line = place.replace(/\d+$/, "");
  const stack = textOf(error) ?? `${error.name}: ${error.message}`;
  if (!stack.includes(line)) error.stack = `${stack}\n    at async ${what} (${place})`;
}

/** Adds to an error's message, and to its stack, where the message stands as it was when the error was made. */
export function addToMessage(error: Error, text: string): void {
  const { message } = error;
  const stack = textOf(error);
  error.message += text;
  if (stack !== undefined) error.stack = stack.replace(message, () => error.message);
}

/** A built program runs its .js; its source map leads back to the line that was written. */
function original(path: string, line: number, column: number): string {
  const entry = /\.[cm]?js$/.test(path) ? sourceMapOf(path)?.findEntry(line - 1, column - 1) : undefined;
  const mapping = entry !== undefined && isMapping(entry) ? entry : undefined;
  // A bundler may name sources by a scheme of its own.
  const source = mapping === undefined ? undefined : pathOf(mapping.originalSource, pathToFileURL(path));
  return mapping === undefined || source === undefined
    ? `${path}:${line}:${column}`
    : `${source}:${mapping.originalLine + 1}:${mapping.originalColumn + 1}`;
}

/** The path that a URL names; undefined where it names no file of this machine. */
function pathOf(url: string, base?: URL): string | undefined {
  try {
    return fileURLToPath(new URL(url, base));
  } catch {
    return undefined;
  }
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
