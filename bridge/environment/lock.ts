/** A lock between processes: a file made with O_EXCL that names its owner and is touched while the owner lives. */

import { randomUUID } from "node:crypto";
import { closeSync, mkdirSync, openSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isRunning, processPlace, startOf } from "./processes.ts";
import { readRegularFile } from "../runtime/regular-file.ts";
import { codeOf, parseRecord } from "./untyped.ts";

const heartbeat = 5_000;

export interface LockOptions {
  signal: AbortSignal;
  /** Called once, when another process is found to hold it. */
  onWait: (owner: string) => void;
  /** Called when it was taken from us, which happens to a process that was stopped for longer than the patience. */
  onLost: () => void;
  /** Milliseconds without a sign of life after which an owner counts as dead. Default: 30,000. */
  patience?: number;
}

interface Owner {
  pid: number;
  host: string;
  /** Where its number counts; absent where an earlier version has written it. */
  place: string | undefined;
  /** When its process was started: a number may be used again. */
  start: string | undefined;
}

/**
 * Waits until the lock at `path` is ours; what it returns gives it back. An owner that is dead loses it: at once where
 * its process is known to be gone; after `patience` without a touch where that cannot be known (another machine, a
 * container with process numbers of its own). That is watched for, not read off the clock: two machines' clocks differ.
 */
export async function acquire(path: string, options: LockOptions): Promise<() => void> {
  const { pid } = process;
  const mine = JSON.stringify({ pid, host: hostname(), place: processPlace(), start: startOf(pid), id: randomUUID() });
  let waiting = false;
  let seen = { state: "", since: 0 };
  const gate = { state: "", since: 0 };
  for (;;) {
    options.signal.throwIfAborted();
    // Anew each time: a run that fails removes the folders that it made.
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    if (create(path, mine)) return hold(path, mine, options);

    const content = read(path);
    if (content === undefined) {
      await sleep(5);
      continue;
    }
    const state = `${content} ${touched(path)}`;
    if (state !== seen.state) seen = { state, since: performance.now() };
    const owner = parse(content);
    if (isGone(owner) || performance.now() - seen.since > (options.patience ?? 30_000)) {
      removeDead(path, content, mine, gate);
      await sleep(5);
      continue;
    }
    if (!waiting) options.onWait(owner === undefined ? "another process" : `process ${owner.pid} on ${owner.host}`);
    waiting = true;
    await sleep(200, undefined, { signal: options.signal });
  }
}

function hold(path: string, mine: string, { onLost }: LockOptions): () => void {
  const timer = setInterval(() => {
    if (read(path) === mine) utimesSync(path, new Date(), new Date());
    else {
      clearInterval(timer);
      onLost();
    }
  }, heartbeat);
  timer.unref();
  return () => {
    clearInterval(timer);
    if (read(path) === mine) rmSync(path, { force: true });
  };
}

/**
 * Removes a dead owner's lock. Two processes may both have found it dead; without the gate the slower one would remove
 * the lock that the faster one has just made.
 */
function removeDead(path: string, content: string, mine: string, seen: { state: string; since: number }): void {
  const gate = `${path}.gate`;
  if (!create(gate, mine)) {
    // Its owner needs well under a millisecond; one that stays was killed there.
    const state = `${read(gate)} ${touched(gate)}`;
    if (state !== seen.state) Object.assign(seen, { state, since: performance.now() });
    else if (performance.now() - seen.since > 10_000) rmSync(gate, { force: true });
    return;
  }
  try {
    if (read(path) === content) rmSync(path, { force: true });
  } finally {
    rmSync(gate, { force: true });
  }
}

function create(path: string, content: string): boolean {
  let file: number;
  try {
    file = openSync(path, "wx", 0o644);
  } catch (error) {
    // ENOENT: a failed run has just removed the folder; the next round makes it again.
    if (["EEXIST", "ENOENT"].includes(codeOf(error))) return false;
    throw error;
  }
  try {
    writeFileSync(file, content);
  } catch (error) {
    // Of a full disk half of it would stay, and be nobody's.
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  return true;
}

function read(path: string): string | undefined {
  try {
    return readRegularFile(path).toString();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function touched(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Undefined for a file that is there but not yet written. */
function parse(content: string): Owner | undefined {
  const { pid, host, place, start } = parseRecord(content) ?? {};
  if (!Number.isSafeInteger(pid) || (pid as number) < 1 || typeof host !== "string") return undefined;
  const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
  return { pid: pid as number, host, place: text(place), start: text(start) };
}

/** Only of a process whose number counts here is it known: two containers may have one host name, and their numbers are not the same. */
function isGone(owner: Owner | undefined): boolean {
  if (owner?.host !== hostname() || owner.place !== processPlace()) return false;
  return !isRunning(owner.pid) || (owner.start !== undefined && owner.start !== startOf(owner.pid));
}
