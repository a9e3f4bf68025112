/** Other processes of this machine: whether one is still there, and whether its number means here what it meant there. */
import { readFileSync, readlinkSync } from "node:fs";
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

/** When a process was started, in the kernel's own unit: a number that is used again has another. Undefined where the system does not tell. */
export function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // (The program's name, in brackets, may hold anything.)
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

/** Where a process number means the same: this machine, since it was started, and this namespace. (Machines that were cloned share a host's name.) */
export function processPlace(): string {
  let boot = "";
  try {
    boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    // Not Linux: the host's name must do.
  }
  return `${boot}/${processNamespace()}`;
}
