/**
 * Keeps one worker per key in a process (in a thread, where there are several). A module that is evaluated anew gets
 * the existing worker.
 */
import { isDeepStrictEqual } from "node:util";
import { TorchwireError } from "../errors/errors.ts";
import type { Worker } from "../worker.ts";

/** A worker, with the means to end it. */
export interface Owned {
  readonly worker: Worker;
  /** Whether it is being closed, or has ended. */
  readonly over: boolean;
  /** Resolves when the process has ended. */
  readonly gone: Promise<void>;
  /** Ends it at once. All that is pending or comes later rejects with `why`. */
  end(why: string): Promise<void>;
}

type Options = Readonly<Record<string, unknown>>;

interface Held {
  readonly copy: object;
  readonly options: Options;
  readonly owned: Promise<Owned>;
}

/** In the global object, because a dev server evaluates modules anew: this one too where it is bundled. */
const REGISTRY = Symbol.for("torchwire.workers");
const registry = globalThis as { [REGISTRY]?: Map<string, Held> };
const held: Map<string, Held> = (registry[REGISTRY] ??= new Map<string, Held>());

/** Tells this copy of torchwire from others in the process. References of one copy mean nothing to another. */
const copy: object = {};

/**
 * `named` are the options that the call names, which must fit the existing worker. `options` has the defaults too.
 */
export async function keyed(
  key: string,
  { options, named }: { options: Options; named: Options },
  start: () => Promise<Owned>,
): Promise<Worker> {
  for (let there = held.get(key); there !== undefined; there = held.get(key)) {
    if (there.copy !== copy) await end(there, key);
    else {
      const owned = await there.owned;
      if (!owned.over) {
        checkSame(key, there.options, named);
        return owned.worker;
      }
      await owned.gone;
    }
    if (held.get(key) === there) held.delete(key);
  }
  const entry: Held = { copy, options, owned: start() };
  held.set(key, entry);
  const forget = (): void => {
    if (held.get(key) === entry) held.delete(key);
  };
  entry.owned.then(({ gone }) => gone.then(forget), forget);
  return (await entry.owned).worker;
}

async function end({ owned }: Held, key: string): Promise<void> {
  try {
    await (
      await owned
    ).end(
      `the worker was ended: another copy of torchwire in this process called spawnWorker({ key: ${JSON.stringify(key)} })`,
    );
  } catch {
    // It could not start, as its own caller is told. There is nothing to end.
  }
}

function checkSame(key: string, theirs: Options, named: Options): void {
  for (const [name, value] of Object.entries(named)) {
    if (isDeepStrictEqual(value, theirs[name])) continue;
    const [asked, has] = [value, theirs[name]].map((each) => JSON.stringify(each) ?? "not set");
    throw new TorchwireError(
      "MISUSE",
      `spawnWorker: the worker of the key ${JSON.stringify(key)} is there, with another ${name} (${has}, not ${asked}). ` +
        `Close it first, as in await (await spawnWorker({ key: ${JSON.stringify(key)} })).close(), or take another key.`,
    );
  }
}
