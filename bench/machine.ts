/** The machine and the software of a measurement. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem, type } from "node:os";
import { fileURLToPath } from "node:url";

export interface Machine {
  /** Everything in one line, for people. */
  readonly name: string;
  readonly cpu: string;
  /** The CPUs that this process may use. */
  readonly cores: number;
  readonly memoryGiB: number;
  readonly os: string;
  readonly architecture: string;
  /** Null where it is unknown. */
  readonly virtual: boolean | null;
  /** Null with another C library. */
  readonly glibc: string | null;
  /** The name of the first GPU that PyTorch can use; null where there is none. */
  readonly gpu?: string | null;
}

/** `gpu`: from `gpuOf`. */
export function describeMachine(gpu: string | null = null): Machine {
  const cpu =
    (cpus()[0]?.model ?? "")
      .replaceAll(/\((R|TM)\)/g, "")
      .replaceAll(/\s+/g, " ")
      .trim() || process.arch;
  const cores = availableParallelism();
  const memoryGiB = Math.round((totalmem() / 2 ** 30) * 10) / 10;
  const os = `${type()} ${release().split("-")[0]}`;
  const virtual = isVirtual();
  const name = `${cpu}, ${cores} core${cores === 1 ? "" : "s"}${virtual ? " (virtual)" : ""}, ${memoryGiB} GiB, ${os}${gpu === null ? "" : `, ${gpu}`}`;
  return { name, cpu, cores, memoryGiB, os, architecture: process.arch, virtual, glibc: glibcVersion(), gpu };
}

/** The name of the GPU that this Python's PyTorch would use; null where there is none. */
export function gpuOf(python: string): string | null {
  // (Without a driver there is none, and PyTorch need not be asked.)
  if (!["/dev/nvidiactl", "/dev/kfd", "/dev/dxg"].some((driver) => existsSync(driver))) return null;
  const program = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')";
  return execFileSync(python, ["-c", program], { encoding: "utf8" }).trim() || null;
}

/** The name of a machine's file: the same for every machine of its kind. */
export function slugOf({ cpu, cores, gpu }: Pick<Machine, "cpu" | "cores" | "gpu">): string {
  const words = `${cpu} ${cores} core${cores === 1 ? "" : "s"} ${gpu ?? ""}`.toLowerCase().match(/[a-z0-9.]+/g) ?? [];
  return words.join("-");
}

/** The commit that is measured, with a `+` where the working tree differs from it; undefined outside a checkout. */
export function commitOf(): string | undefined {
  const git = (...args: string[]): string =>
    execFileSync("git", args, {
      cwd: fileURLToPath(new URL("..", import.meta.url)),
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  try {
    const changed = git("status", "--porcelain", "--", ".", ":(exclude)bench/results") !== "";
    return git("rev-parse", "--short=12", "HEAD") + (changed ? "+" : "");
  } catch {
    // No git, or no checkout.
    return undefined;
  }
}

function glibcVersion(): string | null {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ?? null;
}

function isVirtual(): boolean | null {
  try {
    return /^flags\s*:.*\bhypervisor\b/m.test(readFileSync("/proc/cpuinfo", "utf8"));
  } catch {
    return null;
  }
}
