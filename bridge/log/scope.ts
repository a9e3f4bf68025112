import { inner, type Reference } from "../reference/ref.ts";
import { referencesIn } from "../reference/within.ts";
import { toRanges } from "./ranges.ts";

/** Notes which references a piece of code makes, so that its end can free them in one operation. */
export class Scope {
  readonly #made: Reference[] = [];
  /** The scope around it. It may end first: nobody has to wait for this one. */
  #outer: Scope | undefined;
  #hasEnded = false;

  constructor(outer?: Scope) {
    this.#outer = outer?.nearest;
  }

  /** The scope that frees what is made here. Code may go on after the end of its own scope. */
  get nearest(): Scope | undefined {
    return this.#hasEnded ? this.#outer?.nearest : this;
  }

  add(reference: Reference): void {
    this.#made.push(reference);
  }

  /**
   * Gives the references in `result` to the scope around this one, or to `adopt` where there is none. Those of other
   * scopes stay where they are.
   */
  hand(result: unknown, adopt: (reference: Reference) => void): void {
    if (this.#made.length === 0) return;
    const outer = this.#outer?.nearest;
    for (const proxy of referencesIn(result)) {
      const reference = inner(proxy)!;
      if (reference.scope !== this || reference.gone !== undefined) continue;
      reference.scope = outer;
      if (outer === undefined) adopt(reference);
      else outer.add(reference);
    }
  }

  /** Gives the ids of all references that were neither kept nor handed on, as ranges. They cannot be used any more. */
  end(): number[] {
    const ids: number[] = [];
    for (const reference of this.#made) {
      if (reference.scope !== this || reference.gone !== undefined) continue;
      reference.gone = "its scope has ended; return it from the scope, or py.keep(ref), to use it afterwards";
      ids.push(reference.id);
    }
    this.#made.length = 0;
    this.#hasEnded = true;
    // A program may begin a scope within each scope, for ever: no chain of scopes that have ended is kept.
    this.#outer = this.#outer?.nearest;
    return toRanges(ids);
  }
}
