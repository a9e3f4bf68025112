/** A worker, somebody honest who works with it, and strangers: what became of the first two. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { CurveKeys } from "../../bridge/link/connection.ts";
import { built } from "../built.ts";
import { isRunning, portsOf } from "../fixtures/life/world.ts";
import { attack, type Sent } from "./attack.ts";
import { Ear } from "./peer.ts";

export interface Fuzz {
  readonly seed: number;
  readonly count: number;
  readonly tinyFrames: number;
  /** The address that it serves: `tcp://127.0.0.1:port`. Default: one is spawned, on ports of its own. */
  readonly address?: string;
  readonly keys?: {
    /** The honest client's, and the folder it is in. */
    readonly profile: string;
    readonly config: string;
    /** The keys of another client that is let in. */
    readonly stranger: CurveKeys;
    /** Secrets that nobody may hear. */
    readonly secrets: Readonly<Record<string, string>>;
  };
  readonly say?: (what: string) => void;
}

/** Round trips, in milliseconds. */
export interface Latency {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
}

export interface Report {
  readonly sent: Sent;
  /** Refusals that the strangers were told. */
  readonly refusals: number;
  /** The secrets that they heard. */
  readonly leaks: readonly string[];
  /** The same process still runs, and works. */
  readonly lives: boolean;
  /** MiB that it had resident before, and at most meanwhile. */
  readonly resident: { readonly before: number; readonly most: number };
  readonly alone: Latency;
  readonly attacked: Latency;
  readonly seconds: number;
}

/** The memory that the worker may gain, in MiB: a message of a million frames takes some 150 until it ends. */
export const MOST_GROWTH = 256;

export async function fuzz({ seed, count, tinyFrames, address, keys, say }: Fuzz): Promise<Report> {
  const start = performance.now();
  await using honest = await Honest.start(address, keys);
  const { pid } = honest;
  const port = Number(address?.split(":")[2]);
  const ports = address === undefined ? (portsOf(pid) as [number, number]) : ([port, port + 1] as const);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const alone = await honest.lap();
  const memory = watchMemory(pid);
  const ear = new Ear(keys?.secrets);
  const curve = keys?.stranger;
  const sent = await attack({ ports, seed, count, tinyFrames, ear, curve, ...(say === undefined ? {} : { say }) });
  const attacked = await honest.lap();
  return {
    sent,
    refusals: ear.refusals,
    leaks: [...ear.leaks],
    lives: isRunning(pid) && attacked.count > 0,
    resident: memory(),
    alone,
    attacked,
    seconds: (performance.now() - start) / 1000,
  };
}

class Honest implements AsyncDisposable {
  readonly pid: number;
  readonly #ask: () => Promise<unknown>;
  readonly #end: () => Promise<void>;

  private constructor(pid: number, ask: () => Promise<unknown>, end: () => Promise<void>) {
    this.pid = pid;
    this.#ask = ask;
    this.#end = end;
  }

  static async start(address: string | undefined, keys: Fuzz["keys"]): Promise<Honest> {
    const args = [built("test/fuzz/honest.ts"), address ?? "", keys?.profile ?? ""];
    const env = { ...process.env, ...(keys === undefined ? {} : { TORCHWIRE_CONFIG: keys.config }) };
    const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"], env });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const answer = async (): Promise<unknown> => {
      const { value, done } = await lines.next();
      if (done === true) throw new Error("the honest client has ended");
      return JSON.parse(value);
    };
    const ended = new Promise<number | null>((resolve) => {
      child.once("close", resolve);
    });
    const { pid } = (await answer()) as { pid: number };
    const ask = (): Promise<unknown> => {
      child.stdin.write("\n");
      return answer();
    };
    return new Honest(pid, ask, async () => {
      child.stdin.end();
      const code = await ended;
      if (code !== 0) throw new Error(`the honest client ended with code ${code}`);
    });
  }

  /** The times of its round trips since the last call. */
  async lap(): Promise<Latency> {
    return (await this.#ask()) as Latency;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#end();
  }
}

/** Starts looking; the function returned says what was seen. */
function watchMemory(pid: number): () => Report["resident"] {
  const now = (): number => {
    try {
      return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
    } catch {
      // It has ended.
      return 0;
    }
  };
  const before = now();
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, now())), 50);
  return () => {
    clearInterval(timer);
    return { before: Math.round(before), most: Math.round(Math.max(most, now())) };
  };
}
