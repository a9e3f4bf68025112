/** A line that says how far it is: redrawn on a terminal, a plain one every few seconds elsewhere. */
export class Progress {
  readonly #total: number;
  #label = "";
  #done = 0;
  #first = 0;
  #start = 0;
  #loss = 0;
  #drawn = 0;

  constructor(total: number) {
    this.#total = total;
  }

  step(label: string, images: number, loss: number): void {
    const now = performance.now();
    if (label !== this.#label) {
      this.end();
      // The clock starts when the first step is over: that one is slower than the rest.
      [this.#label, this.#done, this.#first, this.#start, this.#drawn, this.#loss] = [label, 0, images, now, now, loss];
    }
    this.#done += images;
    this.#loss = 0.95 * this.#loss + 0.05 * loss;
    const every = process.stdout.isTTY ? 100 : 5000;
    if (now - this.#drawn < every && this.#done < this.#total) return;
    this.#drawn = now;
    const seconds = (now - this.#start) / 1000;
    const rate = (this.#done - this.#first) / seconds;
    const left = Math.round((this.#total - this.#done) / rate);
    const filled = Math.round((20 * this.#done) / this.#total);
    const bar = "#".repeat(filled) + "-".repeat(20 - filled);
    const text = `${label} [${bar}] ${this.#done}/${this.#total}  ${rate.toFixed(0)} images/s  loss ${this.#loss.toFixed(4)}  ${left} s left`;
    process.stdout.write(process.stdout.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
  }

  end(): void {
    if (this.#label !== "" && process.stdout.isTTY) process.stdout.write("\n");
    this.#label = "";
  }
}
