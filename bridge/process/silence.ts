/** A start that says nothing: whatever waits there for something that will not come, it is given up in bounded time. */

export class Silence {
  readonly #milliseconds: number;
  readonly #onSilence: () => void;
  #timer: NodeJS.Timeout | undefined;
  #over = false;

  /** Calls `onSilence` when nothing was heard for so long. */
  constructor(milliseconds: number, onSilence: () => void) {
    this.#milliseconds = milliseconds;
    this.#onSilence = onSilence;
    this.heard();
  }

  /** A sign of life. */
  heard(): void {
    clearTimeout(this.#timer);
    if (this.#over) return;
    this.#timer = setTimeout(() => {
      this.end();
      this.#onSilence();
    }, this.#milliseconds);
  }

  /** What was waited for has come, or never will. */
  end(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }
}

/** Long enough for a slow login, a cold disk, a virus scanner. */
export const longestSilence = 30_000;
