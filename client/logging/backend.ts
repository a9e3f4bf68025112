/** Where logs go. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";
import type { Ending } from "../training/report.ts";
import type { Loggable } from "./loggables.ts";

/** What belongs together: one group, one index, one moment. */
export interface LogRecord {
  /** From the widest to the narrowest: `["Step", "training", "Metrics"]`. */
  readonly group: readonly string[];
  /** The index: of a step or of an epoch, from 1; of a part of an epoch, such as 2.4. */
  readonly at: number;
  /** By name. A number is a value. */
  readonly values: { readonly [name: string]: Loggable | number };
}

/** A run's settings, such as TensorBoard's HParams page compares them. */
export interface RunHyperparameters {
  readonly [name: string]: number | string | boolean;
}

/** What the logging callbacks write to. One of your own is an object with these. */
export interface LoggerBackend {
  /** In error messages. */
  readonly name: string;
  /** What it can keep; the rest is refused, where possible before a fit begins. */
  readonly keeps: readonly Loggable["kind"][];
  /** Keeps a record, before it returns. */
  log(record: LogRecord): void;
  /** The run's settings, when it begins. */
  begin?(hyperparameters: RunHyperparameters): void;
  /** That it is over, and how. */
  end?(ending: Ending): void;
  /** Gives free what it holds. A later record opens it again. */
  close(): void;
}

export type Backends = LoggerBackend | readonly LoggerBackend[];

/** One or several, for the callback `who`, which is to log `kind`. Throws MISUSE for what is none, and for one that cannot. */
export function backendsFor(who: string, backends: Backends, kind?: Loggable["kind"]): readonly LoggerBackend[] {
  const all = Array.isArray(backends) ? (backends as readonly LoggerBackend[]) : [backends as LoggerBackend];
  if (all.length === 0)
    throw new TorchwireError("MISUSE", `${who}: there is no backend to log to: give tensorBoard("runs/one")`);
  for (const one of all) {
    if (typeof one?.log !== "function" || !Array.isArray(one.keeps))
      throw new TorchwireError(
        "MISUSE",
        `${who}: ${described(one)} is no backend; give tensorBoard(folder), jsonLines(folder), csv(folder), or an array of them`,
      );
    if (kind !== undefined && !one.keeps.includes(kind)) throw cannotKeep(one, kind, who);
  }
  return all;
}

/** The record's values as loggables, with their names; those that are none, or that `backend` cannot keep, are refused. */
export function valuesOf(backend: LoggerBackend, { group, values }: LogRecord): [name: string, value: Loggable][] {
  return Object.entries(values).map(([name, value]) => {
    const loggable: Loggable = typeof value === "number" ? { kind: "value", value } : value;
    const kind = (loggable as Partial<Loggable> | undefined)?.kind;
    if (kind === undefined)
      throw new TorchwireError(
        "MISUSE",
        `${backend.name}: ${[...group, name].join("/")} is ${described(value)}; it is to be a number, or one of Loggables`,
      );
    if (!backend.keeps.includes(kind)) throw cannotKeep(backend, kind, [...group, name].join("/"));
    return [name, loggable];
  });
}

function cannotKeep({ name, keeps }: LoggerBackend, kind: string, what: string): TorchwireError {
  return new TorchwireError("MISUSE", `${what}: ${name} cannot keep a ${kind}; it keeps ${keeps.join(", ")}`);
}
