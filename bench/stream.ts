/** Requests one after the other, with a number of them in flight. */

export interface Streamed {
  readonly count: number;
  /** From the first request to the last answer. */
  readonly seconds: number;
}

/** Sends requests for `seconds`, `window` of them in flight, then waits for the last answers. */
export async function stream(seconds: number, window: number, request: () => Promise<unknown>): Promise<Streamed> {
  const inFlight: Promise<unknown>[] = [];
  let count = 0;
  const start = performance.now();
  const end = start + 1000 * seconds;
  do {
    inFlight.push(request());
    count++;
    if (inFlight.length >= window) await inFlight.shift();
  } while (performance.now() < end);
  for (const answer of inFlight) await answer;
  return { count, seconds: (performance.now() - start) / 1000 };
}

/** The time of each request in microseconds, when each waits for the one before. */
export async function latencies(seconds: number, request: () => PromiseLike<unknown>): Promise<number[]> {
  const micros: number[] = [];
  const end = performance.now() + 1000 * seconds;
  for (let before = performance.now(); before < end;) {
    await request();
    const after = performance.now();
    micros.push(1000 * (after - before));
    before = after;
  }
  return micros;
}
