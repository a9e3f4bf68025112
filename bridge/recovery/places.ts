/** Places where a worker can run, by the words that users have for them. */
import { variable } from "../runtime/variables.ts";
import { TorchwireError } from "../errors/errors.ts";
import { placeForm, readPlace } from "../link/address.ts";
import type { ConnectOptions } from "../start/connect.ts";
import type { Owned } from "../start/keyed.ts";
import { spawn, startAt, HERE, type SpawnOptions } from "../start/spawn.ts";

export interface Place {
  readonly name: string;
  /** The name within a sentence. */
  readonly said: string;
  readonly open: () => Promise<Owned>;
}

export type OpenOptions = Omit<SpawnOptions, "key"> & Pick<ConnectOptions, "profile" | "timeout">;

/** @throws MISUSE for a word that names no place. */
export function placeOf(name: unknown, options: OpenOptions): Place {
  const isPlace =
    typeof name === "string" && (name === HERE || /^ssh:\/\/./.test(name) || readPlace(name) !== undefined);
  if (!isPlace)
    throw new TorchwireError(
      "MISUSE",
      `withWorker: ${JSON.stringify(name) ?? String(name)} is no place for a worker: it may be "here", "ssh://gpu-box", or an address ${placeForm}`,
    );
  return { name, said: name === HERE ? "on this machine" : `at ${name}`, open: () => startAt(name, options) };
}

/** The one place of a program that names none: as with `spawnWorker`. */
export function defaultPlace(options: OpenOptions): Place {
  const { ssh } = options;
  if (ssh === undefined) return placeOf(variable("TORCHWIRE_WORKER") ?? HERE, options);
  const words = typeof ssh === "string" ? ssh : ssh.join(" ");
  const name = words.startsWith("ssh://") ? words : `ssh ${words}`;
  return { name, said: `at ${name}`, open: () => spawn(options) };
}
