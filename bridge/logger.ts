import { pino, type Logger } from "pino";

/** Where an option gives none: silent, or to stderr at the level TORCHWIRE_LOG. */
export function defaultLogger(): Logger {
  const level = process.env["TORCHWIRE_LOG"];
  return level === undefined ? pino({ level: "silent" }) : pino({ name: "torchwire", level }, pino.destination(2));
}
