/** The signals by which a terminal or the system ends a program, as a fit hears them. */

/**
 * One Ctrl-C may come several times within this: npm and tsx hand it on to programs that the terminal has told already.
 */
const SAME_MS = 500;

/** Kubernetes, Slurm and systemd send SIGTERM, a closed terminal SIGHUP, Ctrl-Break on Windows SIGBREAK. */
const ENDING: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"];

const ours = new WeakSet<(...args: never[]) => unknown>();

/** How this program was told to end, while a fit in a folder heard it. */
let told: string | undefined;

/**
 * Calls `interrupt` at the first signal, and leaves the second one to Node, which ends the program. A fit in a folder
 * hears all of them, as it can go on later; other fits hear Ctrl-C in a terminal. A signal that somebody else listens to
 * is left to them. Returns a function that ends it.
 *
 * A program that was told to end must not begin with its next fit: one in a folder is interrupted at once, by no signal
 * of its own.
 */
export function hearSignals(
  isInFolder: boolean,
  interrupt: (reason: string, signal?: NodeJS.Signals) => void,
): () => void {
  if (isInFolder && told !== undefined) interrupt(told);
  const isTerminal = process.stdin.isTTY && process.stderr.isTTY;
  const heard = (isInFolder ? ENDING : isTerminal ? (["SIGINT"] as const) : []).filter((name) =>
    process.listeners(name).every((listener) => ours.has(listener)),
  );
  let leaving: NodeJS.Timeout | undefined;
  const leave = (): void => {
    for (const name of heard) process.removeListener(name, onSignal);
  };
  const onSignal = (name: NodeJS.Signals): void => {
    const reason = name === "SIGINT" && isTerminal ? "Ctrl-C" : name;
    if (isInFolder && told === undefined) {
      told = reason;
      outliveReaders();
      if (process.stderr.isTTY)
        process.stderr.write(`\r\u001B[Kfit: ${reason}: a checkpoint is being written. Once more leaves at once\n`);
    }
    interrupt(reason, name);
    leaving ??= setTimeout(leave, SAME_MS).unref();
  };
  ours.add(onSignal);
  for (const name of heard) process.on(name, onSignal);
  return () => {
    if (leaving === undefined) leave();
  };
}

/** The same Ctrl-C ends the reader of a pipe, and a terminal may be closed: printing must not end the program then. */
function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
}
