import type { Reference } from "../reference/ref.ts";
import { toRanges } from "./ranges.ts";

/** Notes which references a piece of code makes, so that its end can free them in one operation. */
export class Scope {
  readonly #made: Reference[] = [];

  add(reference: Reference): void {
    this.#made.push(reference);
  }

  /** Gives the ids of all references that were not kept, as ascending ranges. They cannot be used any more. */
  end(): number[] {
    const ids: number[] = [];
    for (const reference of this.#made) {
      if (reference.scope !== this || reference.gone !== undefined) continue;
      reference.gone = "its scope has ended; py.keep(ref) keeps a reference beyond its scope";
      ids.push(reference.id);
    }
    this.#made.length = 0;
    return toRanges(ids);
  }
}
