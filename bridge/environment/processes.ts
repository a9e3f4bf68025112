/** Other processes of this machine: whether one still runs, and whether its number means here what it meant there. */
import { readFileSync, readlinkSync } from "node:fs";
import { codeOf } from "./untyped.ts";

export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // Another user's process runs all the same.
    return codeOf(error) !== "ESRCH";
  }
}

/** A container has numbers of its own, and may have the same host name. */
function processNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync("/proc/self/ns/pid"))![0];
  } catch {
    // Not Linux: there is one namespace.
    return "0";
  }
}

/**
 * Where a process number means the same: this machine, since its start, and this namespace. (Cloned machines share a
 * host's name.) The worker writes the same text (processes.py).
 */
export function processPlace(): string {
  let boot = "";
  try {
    boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    // Not Linux: the host's name must do.
  }
  return `${boot}/${processNamespace()}`;
}
