/** Bytes per second as tensors, in several ways. */
import type { Contest } from "./rounds.ts";
import type { Streamed } from "./stream.ts";

const MEBIBYTE = 2 ** 20;
export const SIZES: readonly number[] = [1.5 * MEBIBYTE, 16 * MEBIBYTE];
/** Messages in flight. */
export const WINDOW = 4;

export interface Way {
  readonly name: string;
  /** Sends arrays for a while, `window` of them in flight. */
  readonly stream: (window: number) => Promise<Streamed>;
}

/** Filled with ones: memory that was never written to would be one shared page. */
export const bytesOf = (size: number): Uint8Array => new Uint8Array(size).fill(1);

/** The first way is the reference. Each way runs once beforehand. */
export async function byteContest(size: number, ways: readonly Way[]): Promise<Contest> {
  const variants = ways.map(({ name, stream }) => ({
    name,
    run: async () => {
      const before = process.cpuUsage();
      const { count, seconds } = await stream(WINDOW);
      const { user, system } = process.cpuUsage(before);
      return { "GB/s": (size * count) / seconds / 1e9, "client CPU ms": (user + system) / 1000 / count };
    },
  }));
  for (const { run } of variants) await run();
  return {
    name: `${size / MEBIBYTE} MiB of uint8`,
    primary: "GB/s",
    better: "higher",
    reference: ways[0]!.name,
    columns: ["GB/s", "client CPU ms"],
    variants,
    facts: { "in flight": WINDOW },
  };
}
