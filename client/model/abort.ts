import { checkSignal } from "../loop/interruption.ts";

/** Runs `run`, and rejects with the reason of `signal` as soon as that aborts. The result is then dropped. */
export async function unlessAborted<T>(signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
  checkSignal(signal, "predict");
  if (signal === undefined) return run();
  signal.throwIfAborted();
  let abort!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort);
  });
  try {
    return await Promise.race([run(), aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
