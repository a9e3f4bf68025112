/** Runs faults, as many at a time as there are cores, and compares each run with that of its kind that was left alone. */
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { differences, outcomeDifferences, type Left } from "./compare.ts";
import { Disk } from "./disk.ts";
import type { Fault } from "./faults.ts";
import type { Kind } from "./kinds.ts";
import { Lanes } from "./lanes.ts";
import type { Undisturbed } from "./program.ts";
import { Scene } from "./scene.ts";

export class Stage implements Disposable {
  readonly #root = mkdtempSync(join(tmpdir(), "torchwire-faults-"));
  readonly #lanes: Lanes;
  readonly #wholes = new Map<Kind, Promise<{ left: Left; cold: Undisturbed["cold"] }>>();
  readonly #noDisk: string | undefined;
  #scenes = 0;
  /** Programs that have gone on from a checkpoint, and their updates that were compared, with both kinds of run. */
  readonly compared: { resumes: number; updates: number } = { resumes: 0, updates: 0 };

  constructor(lanes: number = availableParallelism()) {
    this.#lanes = new Lanes(lanes);
    this.#noDisk = Disk.impossible(join(this.#root, "trial"));
  }

  /** Why a fault is left out; undefined where it is not. */
  skipped({ blow, skipped }: Fault): string | undefined {
    return skipped ?? (blow === "fill the disk" ? this.#noDisk : undefined);
  }

  /** What is wrong with the run that had this fault; nothing where all is well. */
  async wrong(fault: Fault): Promise<string[]> {
    const { left, cold } = await this.#whole(fault.kind);
    return this.#lanes.within(async () => {
      const scene = new Scene(this.#folder(), fault.kind, this.#lanes);
      try {
        await scene.open(fault.hits.map(({ blow }) => blow));
        const run = await scene.play(fault.hits);
        if (run === undefined) return scene.wrong;
        this.#count(run);
        return [...scene.wrong, ...differences(fault.kind, run, left, cold)];
      } catch (error) {
        return [...scene.wrong, String(error)];
      } finally {
        await scene.close();
      }
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.#root, { recursive: true, force: true });
  }

  #folder(): string {
    return join(this.#root, String(this.#scenes++));
  }

  #count({ updates }: Left): void {
    const resumed = updates.filter(({ from }) => from > 0);
    this.compared.resumes += resumed.length;
    this.compared.updates += resumed.reduce((sum, one) => sum + one.updates.length, 0);
  }

  /** The run that is left alone. One of each kind is enough. */
  #whole(kind: Kind): Promise<{ left: Left; cold: Undisturbed["cold"] }> {
    const known = this.#wholes.get(kind);
    if (known !== undefined) return known;
    const made = this.#lanes.within(async () => {
      const scene = new Scene(this.#folder(), kind, this.#lanes);
      const { isWell, stdout, stderr } = await scene.run({ alone: true });
      if (!isWell) throw new Error(`the undisturbed run failed: ${stderr}`);
      const { outcome, kept, cold } = JSON.parse(stdout) as Undisturbed;
      const left = scene.left(outcome);
      const differs = outcomeDifferences(kept, outcome);
      if (differs.length > 0) throw new Error(`a run with checkpoints differs: ${differs.join(", ")}`);
      const [{ updates } = { updates: [] }] = left.updates;
      if (new Set(updates).size !== updates.length) throw new Error("two updates of the undisturbed run are the same");
      for (const log of ["log.jsonl", "log.csv", "tfevents"])
        if (left.logs.filter((line) => line.startsWith(`${log}: `)).length < updates.length)
          throw new Error(`the undisturbed run has no ${log}`);
      return { left, cold };
    });
    this.#wholes.set(kind, made);
    return made;
  }
}
