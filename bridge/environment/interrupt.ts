/** Runs work that cleans up when the process must end. */

import { EnvironmentError } from "../errors/errors.ts";

/**
 * Runs `work` with a signal that SIGINT, SIGTERM and SIGHUP abort. After its cleaning up the process ends by that
 * signal, as it would have. Where somebody else listens for the signal, only the error says it. Repeated signals are
 * ignored meanwhile: a terminal and npm both send SIGINT.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let received: NodeJS.Signals | undefined;
  const listener = (name: NodeJS.Signals): void => {
    received ??= name;
    controller.abort(
      new EnvironmentError(`the set-up was interrupted (${name}) and has removed what it made.`, {
        command: "npx torchwire setup",
      }),
    );
  };
  const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const name of names) process.on(name, listener);
  try {
    return await work(controller.signal);
  } catch (error) {
    // An aborted wait throws an AbortError; the reason says more.
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    for (const name of names) process.off(name, listener);
    if (received !== undefined && process.listenerCount(received) === 0) process.kill(process.pid, received);
  }
}
