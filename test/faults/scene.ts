/** The programs of one run. They are hit at their places and started again, until one ends by itself. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { FaultProxy } from "../fixtures/faults/proxy.ts";
import { serve, type Served } from "../fixtures/served.ts";
import { built } from "../built.ts";
import { leftBy, type Left } from "./compare.ts";
import { Disk } from "./disk.ts";
import type { Blow, Hit } from "./faults.ts";
import { updatesAt, type Kind } from "./kinds.ts";
import type { Lanes } from "./lanes.ts";
import type { Outcome, Setting } from "./program.ts";

const STOPPED_MS = 10_000;
const GRACE_S = 1;
/** A client waits for 5 s more than the grace time. */
const CUT_MS = (GRACE_S + 6) * 1000;
/** The machine may be shared. */
const MOST_MS = 240_000;
/** A worker notices the end of its program within this. */
const ORPHAN_MS = 30_000;

/** The exit code of a program that has heard SIGTERM. */
const TERMINATED = 143;

/** How a program ended. */
interface Ended {
  readonly isWell: boolean;
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A blow ends its program; otherwise it goes on to its end. A full disk may do either. */
const ENDS: { readonly [blow in Blow]: boolean | undefined } = {
  "kill the worker": true,
  "kill the program": true,
  "kill both": true,
  "stop the worker for 10 s": false,
  "stop the program for 10 s": false,
  "cut the link past the grace time": true,
  "fill the disk": undefined,
  "terminate the program": true,
};

export class Scene {
  /** What went another way than it must, beside the bits. */
  readonly wrong: string[] = [];
  readonly #folder: string;
  readonly #notes: string;
  readonly #kind: Kind;
  readonly #lanes: Lanes;
  #disk: Disk | undefined;
  #served: Served | undefined;
  #proxy: FaultProxy | undefined;

  constructor(root: string, kind: Kind, lanes: Lanes) {
    [this.#folder, this.#notes] = [join(root, "run"), join(root, "notes")];
    for (const path of [this.#folder, this.#notes]) mkdirSync(path, { recursive: true });
    this.#kind = kind;
    this.#lanes = lanes;
  }

  async open(blows: readonly Blow[]): Promise<void> {
    if (blows.includes("fill the disk")) this.#disk = new Disk(this.#folder);
    if (!blows.includes("cut the link past the grace time")) return;
    this.#served = await serve({ args: ["--grace", String(GRACE_S)] });
    this.#proxy = await FaultProxy.open(this.#served.port);
  }

  async close(): Promise<void> {
    await this.#proxy?.[Symbol.asyncDispose]();
    await this.#served?.[Symbol.asyncDispose]();
    this.#disk?.[Symbol.dispose]();
    await rm(join(this.#folder, ".."), { recursive: true, force: true });
  }

  left(outcome: Outcome): Left {
    return leftBy(outcome, this.#folder, this.#notes);
  }

  /** Returns what the last program has left, where it ended well. */
  async play(hits: readonly Hit[]): Promise<Left | undefined> {
    let last: Ended | undefined;
    const newest: number[] = [0];
    for (const hit of hits) {
      const ended = await this.run({ place: hit.place }, hit.blow);
      const ends = ENDS[hit.blow];
      if (ends !== undefined && ended.isWell === ends)
        this.wrong.push(ends ? `${hit.blow}: the program ended well` : `the program failed: ${ended.stderr}`);
      if (ends === false) last = ended;
      if (hit.blow === "terminate the program" && ended.code !== TERMINATED)
        this.wrong.push(`it ended with ${ended.code}, not ${TERMINATED}: ${ended.stderr}`);
      this.#disk?.free();
      newest.push(this.#newest);
    }
    const { isWell, stdout, stderr } = last ?? (await this.run({}));
    if (!isWell) return void this.wrong.push(`the last program failed: ${stderr}`, ...(this.#served?.lines ?? []));
    const left = this.left(JSON.parse(stdout) as Outcome);
    for (const [i, { from }] of left.updates.entries())
      if (from !== newest[i]) this.wrong.push(`program ${i + 1} went on from step ${from}, not from ${newest[i]}`);
    this.#losesNone(hits, left);
    return left;
  }

  /** A program that is told to end saves all updates that it has made, if its data has a position. */
  #losesNone(hits: readonly Hit[], { updates: programs }: Left): void {
    if (this.#kind.hasNoPosition) return;
    for (const [i, { blow }] of hits.entries()) {
      if (blow !== "terminate the program") continue;
      const [{ from, updates }, next] = [programs[i]!, programs[i + 1]!];
      const lost = updatesAt(from, this.#kind) + updates.length - updatesAt(next.from, this.#kind);
      if (lost !== 0) this.wrong.push(`its last ${lost} updates were not saved`);
    }
  }

  /** Steps of the newest checkpoint; 0 where there is none. */
  get #newest(): number {
    const names = readdirSync(join(this.#folder, "run"));
    return Math.max(0, ...names.map((name) => Number(/^step-0*(\d+)-/.exec(name)?.[1] ?? 0)));
  }

  async run(setting: Pick<Setting, "place" | "alone">, blow?: Blow): Promise<Ended> {
    const all: Setting = {
      kind: this.#kind.name,
      folder: this.#folder,
      notes: this.#notes,
      hooks: fileURLToPath(new URL("places.py", import.meta.url)),
      address: this.#proxy?.address,
      ...setting,
    };
    const child = spawn(process.execPath, [built("test/faults/program.ts"), JSON.stringify(all)], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, OMP_NUM_THREADS: "1" },
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (piece: Buffer) => (stdout += String(piece)));
    child.stderr.on("data", (piece: Buffer) => (stderr += String(piece)));
    const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
    const over = once(child, "close");
    const timer = setTimeout(() => {
      this.wrong.push(`a program did not end within ${MOST_MS / 1000} s`);
      child.kill("SIGKILL");
    }, MOST_MS);
    try {
      if (blow !== undefined) {
        const reached = join(this.#notes, "reached");
        while (isRunning() && !existsSync(reached)) await sleep(10);
        if (isRunning()) await this.#hit(blow, child.pid!, reached);
        else this.wrong.push("the program never came to its place");
      }
      await over;
      const isWell = child.exitCode === 0;
      if (stderr.includes("not bit for bit")) this.wrong.push("the environment was said to be another one");
      if (!isWell && this.#served === undefined) await this.#ended(this.#worker);
      return { isWell, code: child.exitCode, stdout, stderr };
    } finally {
      clearTimeout(timer);
    }
  }

  get #worker(): number {
    return Number(readFileSync(join(this.#notes, "worker"), "utf8"));
  }

  /** The program, or its worker, stands still until `reached` is gone. */
  async #hit(blow: Blow, program: number, reached: string): Promise<void> {
    const goOn = (): void => rmSync(reached, { force: true });
    const stop = async (pid: number): Promise<void> => {
      process.kill(pid, "SIGSTOP");
      goOn();
      await this.#lanes.aside(() => sleep(STOPPED_MS));
      process.kill(pid, "SIGCONT");
    };
    const kill = (...pids: number[]): void => {
      for (const pid of pids) process.kill(pid, "SIGKILL");
      goOn();
    };
    switch (blow) {
      case "kill the worker":
        return kill(this.#worker);
      case "kill the program":
        return kill(program);
      case "kill both":
        return kill(program, this.#worker);
      case "terminate the program":
        process.kill(program, "SIGTERM");
        return goOn();
      case "stop the worker for 10 s":
        return stop(this.#worker);
      case "stop the program for 10 s":
        return stop(program);
      case "fill the disk":
        this.#disk!.fill();
        return goOn();
      case "cut the link past the grace time": {
        const away = this.#proxy!.away(CUT_MS);
        goOn();
        return this.#lanes.aside(() => away);
      }
    }
  }

  /** No worker stays behind. */
  async #ended(pid: number): Promise<void> {
    const until = performance.now() + ORPHAN_MS;
    while (isAlive(pid)) {
      if (performance.now() > until) return void this.wrong.push("its worker stayed behind");
      await sleep(10);
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
