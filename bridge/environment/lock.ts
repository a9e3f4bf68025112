/** A lock between processes: a file made with O_EXCL that names its owner and is touched while the owner lives. */

import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isRunning } from "./processes.ts";
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
}

/**
 * Waits until the lock at `path` is ours; what it returns gives it back. An owner that is dead loses it: at once where
 * its process is known to be gone; after `patience` without a touch where that cannot be known (another machine or
 * container, a process id used again). That is watched for, not read off the clock: two machines' clocks differ.
 */
export async function acquire(path: string, options: LockOptions): Promise<() => void> {
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), id: randomUUID() });
  let waiting = false;
  let seen = { state: "", since: 0 };
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
      removeDead(path, content, mine);
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
function removeDead(path: string, content: string, mine: string): void {
  const gate = `${path}.gate`;
  if (!create(gate, mine)) {
    // Its owner needs well under a millisecond; one this old was killed there.
    if (Date.now() - touched(gate) > 10_000) rmSync(gate, { force: true });
    return;
  }
  try {
    if (read(path) === content) rmSync(path, { force: true });
  } finally {
    rmSync(gate, { force: true });
  }
}

function create(path: string, content: string): boolean {
  try {
    writeFileSync(path, content, { flag: "wx", mode: 0o644 });
    return true;
  } catch (error) {
    // ENOENT: a failed run has just removed the folder; the next round makes it again.
    if (["EEXIST", "ENOENT"].includes(codeOf(error))) return false;
    throw error;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
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
  const { pid, host } = parseRecord(content) ?? {};
  return typeof pid === "number" && typeof host === "string" ? { pid, host } : undefined;
}

const isGone = (owner: Owner | undefined): boolean => owner?.host === hostname() && !isRunning(owner.pid);
