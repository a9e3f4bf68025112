/** The last words of a fit in a folder that a signal has ended. */
import { constants } from "node:os";
import { startCommand } from "./command.ts";
import type { Found } from "./folder.ts";

/** Where a run stands. */
export interface Standing {
  /** Training steps of the whole run. */
  readonly steps: number;
  readonly folder: string;
  readonly newest: Found | undefined;
}

/**
 * Says in one line where the run stands and which command goes on. The program's exit code becomes that of the signal,
 * unless it has one: nobody must take an unfinished run for a finished one.
 */
export function farewell(signal: NodeJS.Signals, reason: string, { steps, folder, newest }: Standing): void {
  process.exitCode ??= 128 + constants.signals[signal];
  const where =
    newest === undefined
      ? `${folder} has no checkpoint yet`
      : `${newest.path} has ${newest.manifest.steps === steps ? "all" : newest.manifest.steps} of them`;
  const command = startCommand();
  const how = command === undefined ? "Start the program again to go on" : `To go on: ${command}`;
  process.stderr.write(`fit: interrupted by ${reason}, after ${steps} steps; ${where}. ${how}\n`);
}
