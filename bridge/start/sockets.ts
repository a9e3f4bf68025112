/**
 * Client and worker reach each other on one machine by sockets in a private directory, or by ports of the loopback
 * interface.
 */
import type { Logger } from "pino";
import { EnvironmentError, TorchwireError } from "../errors/errors.ts";
import { variable } from "../runtime/variables.ts";
import { makeSocketDirectory } from "./directory.ts";

export type TransportName = "ipc" | "tcp";

/**
 * A new directory for the worker's sockets; undefined where the worker must listen on ports of 127.0.0.1: where `asked`
 * (or TORCHWIRE_TRANSPORT) says so, on Windows, and where no folder can hold sockets, which the log tells once.
 * @throws ENVIRONMENT where "ipc" is asked for and impossible; MISUSE for any other word.
 */
export function openSocketFolder(asked: TransportName | undefined, logger: Logger): string | undefined {
  const transport = asked ?? variable("TORCHWIRE_TRANSPORT");
  if (transport !== undefined && transport !== "ipc" && transport !== "tcp") {
    const name = asked === undefined ? "TORCHWIRE_TRANSPORT" : "spawnWorker: transport";
    throw new TorchwireError("MISUSE", `${name} is ${JSON.stringify(transport)}; it may be "ipc" or "tcp"`);
  }
  if (transport === "tcp" || (transport === undefined && process.platform === "win32")) return undefined;

  const { directory, refused } = makeSocketDirectory();
  if (directory === undefined && transport === "ipc")
    throw new EnvironmentError(
      `no folder can hold the worker's sockets:\n${refused.map((line) => `  ${line}`).join("\n")}\n` +
        'Set TMPDIR (or XDG_RUNTIME_DIR) to a short path that can be written to, or use transport: "tcp".',
    );
  if (refused.length > 0)
    logger.warn(
      { refused },
      `the worker's sockets are ${directory ?? "ports of 127.0.0.1"}, because of ${refused.join("; ")}`,
    );
  return directory;
}
