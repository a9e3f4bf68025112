/** Gives up a start that says nothing: it may wait for something that will never come. */
export class Silence {
  readonly #milliseconds: number;
  readonly #onSilence: () => void;
  #timer: NodeJS.Timeout | undefined;
  #over = false;

  /** Calls `onSilence` when nothing was heard for so many milliseconds. */
  constructor(milliseconds: number, onSilence: () => void) {
    this.#milliseconds = milliseconds;
    this.#onSilence = onSilence;
    this.heard();
  }

  /** Must be called at each sign of life. */
  heard(): void {
    clearTimeout(this.#timer);
    if (this.#over) return;
    this.#timer = setTimeout(() => {
      this.end();
      this.#onSilence();
    }, this.#milliseconds);
  }

  /** Stops waiting. */
  end(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }
}

/** Milliseconds: long enough for a slow login, a cold disk, a virus scanner. */
export const longestSilence = 30_000;
