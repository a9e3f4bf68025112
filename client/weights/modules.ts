/** Shared by saving and loading: the modules, and how their bytes travel. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py, type AnyReference } from "../../bridge/reference/py.ts";
import { oneLine } from "../../bridge/errors/shown.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { workerOf, type Worker } from "../../bridge/worker.ts";

/** A module, or several. In a file, the names of `{ generator, critic }` begin with `generator.` and `critic.`. */
export type Modules = AnyReference | Readonly<Record<string, AnyReference>>;

/** The bytes of one piece: large enough to need few messages, small enough not to delay a training step. */
export const pieceBytes: number = 4 * 2 ** 20;

/** The number of pieces that are requested ahead, so that neither side waits for the other. */
export const onTheWay = 4;

/**
 * The worker of `modules`. Throws MISUSE unless they are one reference, or an object of references of one worker under
 * names that can be prefixes.
 */
export function workerOfModules(modules: Modules, who: string): Worker {
  const refuse = (what: string): never => {
    throw new TorchwireError("MISUSE", `${who}: ${what}`);
  };
  const only = workerOf(modules);
  if (only !== undefined) return only;
  if (typeof modules !== "object" || modules === null)
    return refuse(`${String(modules)} is not a module, nor an object of modules`);
  const entries = Object.entries(modules);
  const worker = workerOf(entries[0]?.[1]);
  if (entries.length === 0) refuse("no module was given");
  for (const [name, module] of entries) {
    const its = workerOf(module) ?? refuse(`${name} is not a reference to a module`);
    if (its !== worker) refuse(`${name} is in another worker than the others`);
    if (name === "" || name.includes(".")) refuse(`"${name}" cannot be a prefix: it is empty or has a dot`);
  }
  return worker!;
}

/** Makes an object in the worker that outlives its scope. Its owner must dispose it. */
export function make(
  worker: Worker,
  helpers: "state" | "loading" | "pickled" | "checkpoint" | "resuming" | "tracked",
  name: string,
  ...args: unknown[]
): AnyRef {
  return worker.scope(() => {
    const made = py.get(worker.import(`torchwire_worker.helpers.${helpers}`), name)(...args);
    return py.keep(made);
  });
}

/** The first hundred names, on one line: enough to see what is wrong. */
export function nameList(names: readonly string[]): string {
  const most = 100;
  const more = names.length > most ? `, and ${names.length - most} more` : "";
  return (
    names
      .slice(0, most)
      .map((name) => oneLine(name, 1000))
      .join(", ") + more
  );
}
