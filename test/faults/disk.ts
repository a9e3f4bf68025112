/** A disk of its own for a run, which can be full. Linux and root are needed. */
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

const SIZE = "16m";

export class Disk implements Disposable {
  readonly path: string;
  readonly #filler: string;

  /** Why there can be none here; undefined where there can. `folder` is free for a trial. */
  static impossible(folder: string): string | undefined {
    if (process.platform !== "linux") return "a disk in memory is Linux's";
    if (process.getuid!() !== 0) return "only root can mount a disk";
    try {
      new Disk(folder)[Symbol.dispose]();
      return undefined;
    } catch (error) {
      return `no disk can be mounted: ${String((error as { stderr?: Buffer }).stderr ?? error).trim()}`;
    }
  }

  /** Makes `path`, and mounts it there. */
  constructor(path: string) {
    this.path = path;
    this.#filler = join(path, "filler");
    mkdirSync(path, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${SIZE}`, "torchwire-faults", path], { stdio: "pipe" });
  }

  fill(): void {
    for (let size = 2 ** 20; size >= 1;)
      try {
        appendFileSync(this.#filler, Buffer.alloc(size));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
        size /= 2;
      }
  }

  free(): void {
    rmSync(this.#filler, { force: true });
  }

  [Symbol.dispose](): void {
    execFileSync("umount", ["--lazy", this.path], { stdio: "pipe" });
  }
}
