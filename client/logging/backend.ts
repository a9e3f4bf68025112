/** The interface of logging backends. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { KeptState, Refusal } from "../callback/callback.ts";
import { described } from "../options/keywords.ts";
import type { Ending } from "../training/report.ts";
import type { Loggable } from "./loggables.ts";

/** Values that belong together: they share a group, an index and a moment. */
export interface LogRecord {
  /** From the widest name to the narrowest: `["Step", "training", "Metrics"]`. */
  readonly group: readonly string[];
  /** The index of a step or an epoch, from 1. 2.4 is within an epoch. */
  readonly at: number;
  /** The values by name. A plain number is a value. */
  readonly values: { readonly [name: string]: Loggable | number };
}

/** A run's settings, which TensorBoard's HParams page compares, for example. */
export interface RunHyperparameters {
  readonly [name: string]: number | string | boolean;
}

/** The logging callbacks write to a backend. An object with these members is one. */
export interface LoggerBackend {
  /** Names the backend in errors. */
  readonly name: string;
  /** The kinds that it can keep. Others are refused, before a fit begins where possible. */
  readonly keeps: readonly Loggable["kind"][];
  /** Keeps a record before it returns. */
  log(record: LogRecord): void;
  /** Gets the run's settings when the run begins. */
  begin?(hyperparameters: RunHyperparameters): void;
  /** Gets the status of the run when it ends. */
  end?(ending: Ending): void;
  /** Releases its files. A later record opens them again. */
  close(): void;
  /**
   * For a fit that is resumed: how far its files are. `load` cuts them back to that, so that each step stands in them
   * once.
   */
  readonly state?: KeptState;
}

/** The state of a callback that writes to backends, which must all have one. */
export function stateWith(backends: readonly LoggerBackend[], own: KeptState): KeptState | Refusal {
  const without = backends.find(({ state }) => state === undefined);
  if (without !== undefined)
    return {
      refuses: `logs to ${without.name}, which has no state: { save, load }, and a step could stand in it twice`,
    };
  const theirs = backends.map(({ state }) => state!);
  return {
    save: () => ({ own: own.save(), files: theirs.map((one) => one.save()) }),
    load: async (saved: { own: unknown; files: readonly unknown[] }) => {
      await own.load(saved.own);
      for (const [i, one] of theirs.entries()) await one.load(saved.files[i]);
    },
  };
}

export type Backends = LoggerBackend | readonly LoggerBackend[];

/**
 * The backends for the callback `who`, which logs `kind`. Throws MISUSE for anything else, and for a backend that
 * cannot keep `kind`.
 */
export function backendsFor(who: string, backends: Backends, kind?: Loggable["kind"]): readonly LoggerBackend[] {
  const all = Array.isArray(backends) ? (backends as readonly LoggerBackend[]) : [backends as LoggerBackend];
  if (all.length === 0)
    throw new TorchwireError("MISUSE", `${who}: there is no backend to log to; give tensorBoard("runs/one")`);
  for (const one of all) {
    if (typeof one?.log !== "function" || !Array.isArray(one.keeps))
      throw new TorchwireError(
        "MISUSE",
        `${who}: ${described(one)} is not a backend; give tensorBoard(folder), jsonLines(folder), csv(folder), or an array of them`,
      );
    if (kind !== undefined && !one.keeps.includes(kind)) throw cannotKeep(one, kind, who);
  }
  return all;
}

/**
 * The record's values as loggables, with their names. Throws MISUSE for other values, and for those that `backend`
 * cannot keep.
 */
export function valuesOf(backend: LoggerBackend, { group, values }: LogRecord): [name: string, value: Loggable][] {
  return Object.entries(values).map(([name, value]) => {
    const loggable: Loggable = typeof value === "number" ? { kind: "value", value } : value;
    const kind = (loggable as Partial<Loggable> | undefined)?.kind;
    if (kind === undefined)
      throw new TorchwireError(
        "MISUSE",
        `${backend.name}: ${[...group, name].join("/")} is ${described(value)}; it must be a number, or one of Loggables`,
      );
    if (!backend.keeps.includes(kind)) throw cannotKeep(backend, kind, [...group, name].join("/"));
    return [name, loggable];
  });
}

function cannotKeep({ name, keeps }: LoggerBackend, kind: string, what: string): TorchwireError {
  return new TorchwireError("MISUSE", `${what}: ${name} cannot keep a ${kind}; it keeps ${keeps.join(", ")}`);
}
