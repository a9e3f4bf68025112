/** Lines of a file by position. */
import type { Bytes } from "./bytes.ts";

/** The line of a position, from 1. It reads the file up to there, so it is for errors. */
export async function lineAt(bytes: Bytes, position: number): Promise<number> {
  const step = 1 << 16;
  let line = 1;
  let wasCR = false;
  for (let start = 0; start < position; start += step)
    for (const byte of await bytes.read(start, Math.min(start + step, position))) {
      if (byte === 13 || (byte === 10 && !wasCR)) line++;
      wasCR = byte === 13;
    }
  return line;
}
