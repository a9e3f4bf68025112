/**
 * A queue from which each item is taken in the same time, however many stand behind it. (An array's own `shift` moves
 * all of them, once it is long.)
 */
export class Queue<T> {
  #items: (T | undefined)[] = [];
  /** The place of the first one. Those before it were taken. */
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  get first(): T | undefined {
    return this.#items[this.#head];
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (this.length === 0) return undefined;
    this.#items[this.#head++] = undefined;
    // Half of the items are moved after as many were taken: so each is moved once.
    if (this.#head >= ENOUGH && 2 * this.#head >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  clear(): void {
    this.#items = [];
    this.#head = 0;
  }
}

/** So few are not worth the copy. */
const ENOUGH = 32;
