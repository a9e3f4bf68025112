import { type Logger, pino } from "pino";
import { TorchwireError } from "../errors/errors.ts";
import { variable } from "../runtime/variables.ts";

const levels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
/** Has the methods of a logger that are called here, and no others. */
const silent = Object.fromEntries(levels.map((level) => [level, () => undefined])) as unknown as Logger;

/**
 * The logger where no option gives one. It is silent, or writes to stderr at the level TORCHWIRE_LOG.
 * @throws MISUSE where TORCHWIRE_LOG is no level.
 */
export function defaultLogger(): Logger {
  const asked = variable("TORCHWIRE_LOG");
  const level = asked?.toLowerCase() ?? "silent";
  if (!(levels as readonly string[]).includes(level))
    throw new TorchwireError("MISUSE", `TORCHWIRE_LOG is ${JSON.stringify(asked)}; it may be ${levels.join(", ")}`);
  try {
    return level === "silent" ? pino({ level }) : pino({ name: "torchwire", level }, pino.destination(2));
  } catch (error) {
    // pino looks at the stack of its caller, which fails where the program has frozen Error.
    if (asked !== undefined) process.emitWarning(`torchwire cannot log: ${String(error)}`);
    return silent;
  }
}
