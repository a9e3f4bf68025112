/** The CPU time that processes and the machine have used so far, as Linux counts it; elsewhere undefined. */
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";

/** The unit of /proc, the same on every Linux that Node runs on. It is not the kernel's own unit. */
const TICKS_PER_SECOND = 100;

export interface Usage {
  /** The CPU time of all threads, those that have ended included. */
  readonly cpuSeconds: number;
  readonly minorFaults: number;
  /** The CPU time of its children that have ended, and of theirs. */
  readonly childrenSeconds: number;
}

export function usageOf(pid: number): Usage | undefined {
  const text = readProc(`${pid}/stat`);
  return text === undefined ? undefined : parseProcessStat(text);
}

/** The parent of an existing process; Linux only. */
export function parentOf(pid: number): number | undefined {
  const text = readProc(`${pid}/stat`);
  return text === undefined ? undefined : Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[1]);
}

/** Parses /proc/PID/stat. The program's name, its second field, may hold blanks and parentheses. */
export function parseProcessStat(text: string): Usage {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  // proc(5) numbers these fields 10 and 14 to 17; its third field is our first.
  const [minorFaults, ...ticks] = [7, 11, 12, 13, 14].map((i) => Number(fields[i])) as [number, ...number[]];
  const [user, system, childrenUser, childrenSystem] = ticks.map((n) => n / TICKS_PER_SECOND);
  return { minorFaults, cpuSeconds: user! + system!, childrenSeconds: childrenUser! + childrenSystem! };
}

/**
 * Parses /proc/stat: the seconds in which the CPUs `cpus` were not idle, for all processes. Time that the hypervisor
 * took (steal) counts, since it was not ours either. Guests' time is part of user time already.
 */
export function parseBusySeconds(text: string, cpus: ReadonlySet<number>): number {
  let ticks = 0;
  for (const line of text.split("\n")) {
    const cpu = /^cpu(\d+) /.exec(line)?.[1];
    if (cpu === undefined || !cpus.has(Number(cpu))) continue;
    const [user, nice, system, , , irq, softirq, steal] = line.split(" ").slice(1).map(Number);
    for (const part of [user, nice, system, irq, softirq, steal]) ticks += part ?? 0;
  }
  return ticks / TICKS_PER_SECOND;
}

/**
 * The seconds in which living threads of `pid` could have run and had no CPU, added up. PyTorch's threads meet at
 * barriers: while one of them waits for a CPU, the others spin.
 */
export function waitedSeconds(pid: number): number | undefined {
  try {
    let nanoseconds = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`))
      nanoseconds += parseWaited(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8"));
    return nanoseconds / 1e9;
  } catch {
    // Not Linux, a kernel without these statistics, or a thread that has just ended.
    return undefined;
  }
}

/** Parses /proc/PID/task/TID/schedstat, in nanoseconds: time on a CPU, time waiting for one, time slices. */
export function parseWaited(text: string): number {
  return Number(text.split(" ")[1]);
}

/** Parses "0-2,5" to 0, 1, 2, 5. */
export function parseCpuList(text: string): Set<number> {
  const cpus = new Set<number>();
  for (const range of text.trim().split(",")) {
    const [first, last = first] = range.split("-").map(Number);
    for (let cpu = first!; cpu <= last!; cpu++) cpus.add(cpu);
  }
  return cpus;
}

/**
 * Starts the clock. The returned function gives the share of our CPUs' time since then that neither this process nor
 * `pids` used.
 */
export function watchForeign(pids: readonly number[]): () => number | undefined {
  const allowed = /^Cpus_allowed_list:\s*(.+)$/m.exec(readProc("self/status") ?? "")?.[1];
  const cpus = allowed === undefined ? undefined : parseCpuList(allowed);
  const foreignSeconds = (): number | undefined => {
    const stat = readProc("stat");
    if (stat === undefined || cpus === undefined) return undefined;
    const { user, system } = process.cpuUsage();
    let own = (user + system) / 1e6 + (usageOf(process.pid)?.childrenSeconds ?? 0);
    for (const pid of pids) {
      const usage = usageOf(pid);
      if (usage === undefined) return undefined;
      own += usage.cpuSeconds;
    }
    return parseBusySeconds(stat, cpus) - own;
  };
  const began = performance.now();
  const before = foreignSeconds();
  return () => {
    const after = foreignSeconds();
    if (before === undefined || after === undefined || cpus === undefined) return undefined;
    const seconds = (performance.now() - began) / 1000;
    // Ticks are coarse, so the difference can fall a little below 0.
    return Math.max(0, (after - before) / (seconds * cpus.size));
  };
}

/** Lets the peak of a process's resident memory begin anew. */
export async function watchPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, "5").catch(() => undefined);
}

/** The peak of a process's resident memory. */
export function peakBytes(pid: number): number | undefined {
  const kibibytes = /^VmHWM:\s*(\d+) kB$/m.exec(readProc(`${pid}/status`) ?? "")?.[1];
  return kibibytes === undefined ? undefined : 1024 * Number(kibibytes);
}

/** The resident memory of a process; not a number where it is unknown. */
export function residentBytes(pid: number): number {
  return 4096 * Number(readProc(`${pid}/statm`)?.split(" ")[1]);
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(`/proc/${path}`, "utf8");
  } catch {
    // Not Linux, or the process has ended.
    return undefined;
  }
}
