/** Tells which part of a history has not been logged yet. */

import type { KeptState } from "../callback/callback.ts";

export interface Entry {
  readonly at: number;
  readonly value: unknown;
}

export interface History {
  readonly [name: string]: readonly Entry[];
}

/**
 * Gives each entry of a history once. A callback also calls it when it gets a learner, to skip entries that are not its
 * own.
 */
export class Unlogged {
  #seen = new Map<string, number>();

  readonly state: KeptState<ReadonlyMap<string, number>> = {
    save: () => this.#seen,
    load: (seen) => void (this.#seen = new Map(seen)),
  };

  /**
   * The new entries of the history `key`: by index, in order, the values by name. It leaves out values that are not
   * numbers.
   */
  take(key: string, history: History | undefined): Map<number, { [name: string]: number }> {
    const found = new Map<number, { [name: string]: number }>();
    for (const [name, entries] of Object.entries(history ?? {})) {
      const place = `${key}\n${name}`;
      const { length } = entries;
      // A shorter history was started anew, or set back.
      for (let i = Math.min(this.#seen.get(place) ?? 0, length); i < length; i++) {
        const { at, value } = entries[i]!;
        if (typeof value !== "number") continue;
        if (!found.has(at)) found.set(at, {});
        found.get(at)![name] = value;
      }
      this.#seen.set(place, length);
    }
    return found;
  }
}
