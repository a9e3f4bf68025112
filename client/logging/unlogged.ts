/** Histories, and how much of them has been logged. */

export interface Entry {
  readonly at: number;
  readonly value: unknown;
}

export interface History {
  readonly [name: string]: readonly Entry[];
}

/** What was added to histories since they were last asked for. A callback asks when a learner gets it, too: what was there before is not its own. */
export class Unlogged {
  readonly #seen = new Map<string, number>();

  /** Of the history `key`: by index, in order, the values by name. Those that are no numbers are left out. */
  take(key: string, history: History | undefined): Map<number, { [name: string]: number }> {
    const found = new Map<number, { [name: string]: number }>();
    for (const [name, entries] of Object.entries(history ?? {})) {
      const place = `${key}\n${name}`;
      const { length } = entries;
      // A history that became shorter was begun anew, or set back.
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
