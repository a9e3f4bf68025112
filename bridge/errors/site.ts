/**
 * Finds the line of the user's program that wrote an operation. Each operation captures its stack cheaply; only an
 * error formats it.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { readFileSync } from "node:fs";
import { SourceMap, type SourceMapping, type SourceMapPayload } from "node:module";
import { basename, dirname, resolve, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { TorchwireError } from "./errors.ts";
import { type CallSite, readFrames, retakeStack, takeStack, textOf, withProperty } from "./stack.ts";

export type { CallSite };

/**
 * The frames of a captured stack: enough to reach the user's frame from under a proxy's trap, the log and a helper of
 * ours.
 */
let depth = 8;

/** Runs `fn` with deeper stacks, because more of our own frames lie above the user's: up to `frames`. */
export function deep<T>(fn: () => T, frames = 24): T {
  const before = depth;
  depth = frames;
  try {
    return withProperty("stackTraceLimit", depth, fn);
  } finally {
    depth = before;
  }
}

export const captureSite = (): CallSite => takeStack(depth, captureSite);

/**
 * The place that calls us, with all its callers, as a key. It is cheaper than a stack's text. Undefined where the
 * program hides it.
 */
export function stackPosition(): string | undefined {
  return readFrames(depth, stackPosition, (frames) => {
    let key = "";
    for (const frame of frames) key += `${frame.getFileName()}:${frame.getPosition()};`;
    return key;
  });
}

// The source lies in bridge/errors/, built output in dist/bridge/errors/, whose source maps lead back to
// bridge/errors/. (A bundle of CommonJS has no import.meta.)
const above = dirname(dirname(dirname(import.meta.filename ?? __filename)));
const packageRoot = basename(above) === "dist" ? dirname(resolve(above)) : above;
const ours = ["bridge", "client", "dist"].map((folder) => resolve(packageRoot, folder) + sep);

/** The nearest frame of the user's, as `path/train.ts:31:9`; undefined where there is none. */
export function formatSite(site: CallSite | undefined): string | undefined {
  const frame = nearestFrame(site);
  return frame === undefined ? undefined : original(frame.path, frame.line, frame.column);
}

/** These tools print any value that they get: test matchers in their messages, and pino's %o. */
const PRINTERS =
  /[\\/]node_modules[\\/](?:chai|loupe|@?vitest|@?jest|jest-[\w-]+|pretty-format|quick-format-unescaped)[\\/]/;

/** Whether one of those tools is asking, and not the program. */
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

/** Adds the program's line to an error about it. */
export function locate(error: Error): void {
  const site = formatSite(captureSite());
  if (site !== undefined) error.message += ` (at ${shortSite(site)})`;
  // Its stack was taken deep inside, and may not reach the program. The text of a stack does not follow the message
  // either.
  retakeStack(error, locate);
}

/** A copy of an error that many calls meet, with the line that meets it now. */
export function metHere(error: Error): Error {
  const copy = Object.create(Object.getPrototypeOf(error) as object, Object.getOwnPropertyDescriptors(error)) as Error;
  locate(copy);
  return copy;
}

const callers = new AsyncLocalStorage<CallSite>();

/** The program's call under which `traced` runs now; undefined outside of one. */
export const callerSite = (): CallSite | undefined => callers.getStore();

/**
 * Gives the result of `run`. A TorchwireError out of `run` gets the line that called `what` added to its stack, where
 * the stack lacks it: an async function's stack ends at generators, sockets and timers.
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

/** Adds to an error's message, and to the copy of the message in its stack. */
export function addToMessage(error: Error, text: string): void {
  const { message } = error;
  const stack = textOf(error);
  error.message += text;
  if (stack !== undefined) error.stack = stack.replace(message, () => error.message);
}

/** The line that was written: a built program runs its .js, whose source map leads back to it. */
function original(path: string, line: number, column: number): string {
  const entry = /\.[cm]?js$/.test(path) ? sourceMapOf(path)?.findEntry(line - 1, column - 1) : undefined;
  const mapping = entry !== undefined && isMapping(entry) ? entry : undefined;
  // A bundler may name its sources by a scheme of its own.
  const source = mapping === undefined ? undefined : pathOf(mapping.originalSource, pathToFileURL(path));
  return mapping === undefined || source === undefined
    ? `${path}:${line}:${column}`
    : `${source}:${mapping.originalLine + 1}:${mapping.originalColumn + 1}`;
}

/** The path in a URL; undefined where the URL names no file of this machine. */
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
    // Without a readable map the line of the .js file must do.
    return undefined;
  }
}
