/** As many at a time as there are cores. */
export class Lanes {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async within<T>(body: () => Promise<T>): Promise<T> {
    await this.#take();
    try {
      return await body();
    } finally {
      this.#give();
    }
  }

  /** Within the lane of the caller: another may have it meanwhile, as `body` needs no core. The caller goes on at once. */
  async aside(body: () => Promise<void>): Promise<void> {
    this.#give();
    try {
      await body();
    } finally {
      this.#free--;
    }
  }

  async #take(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #give(): void {
    this.#free++;
    if (this.#free <= 0 || this.#waiting.length === 0) return;
    this.#free--;
    this.#waiting.shift()!();
  }
}
