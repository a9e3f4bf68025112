/** Other processes of this machine: whether one is still there, and whether its number means here what it meant there. */
import { readlinkSync } from "node:fs";
import { codeOf } from "./untyped.ts";

export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // (Another user's is running all the same.)
    return codeOf(error) !== "ESRCH";
  }
}

/** A container has numbers of its own, and may have the same host name. */
export function processNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync("/proc/self/ns/pid"))![0];
  } catch {
    // Not Linux: there is one namespace.
    return "0";
  }
}
