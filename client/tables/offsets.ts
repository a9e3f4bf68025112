/** Growing lists of whole numbers up to 2^53: where each row begins. Eight bytes a row, and never copied as a whole. */

const BLOCK = 1 << 16;

export class Offsets {
  readonly #blocks: Float64Array[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    const at = this.#length % BLOCK;
    if (at === 0) this.#blocks.push(new Float64Array(BLOCK));
    this.#blocks.at(-1)![at] = value;
    this.#length++;
  }

  at(index: number): number {
    return this.#blocks[Math.floor(index / BLOCK)]![index % BLOCK]!;
  }

  toArray(): Float64Array<ArrayBuffer> {
    return Float64Array.from({ length: this.#length }, (_, i) => this.at(i));
  }
}
