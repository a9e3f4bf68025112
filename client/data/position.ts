/** Where data stands that can go on in the middle of a pass. */
import { TorchwireError } from "../../bridge/errors/errors.ts";

/** The next batch: batch `batch` of epoch `epoch`, both counted from 0, in the order of `seed`. */
export interface Position {
  readonly epoch: number;
  readonly batch: number;
  readonly seed: number;
}

/** A pass under way. `batch` is the next one. */
export interface Pass extends Position {
  batch: number;
}

/** The passes of data, one after the other. The one that began last has the position. */
export class Passes {
  #current: Pass;
  /** A pass has begun at this position and has not ended: the next pass begins another epoch. */
  #begun = false;

  constructor(seed: number) {
    this.#current = { epoch: 0, batch: 0, seed: whole("seed", seed, 0) };
  }

  get position(): Position {
    return { ...this.#current };
  }

  /** Throws MISUSE for a position that no epoch of `length` batches has. */
  goTo({ epoch, batch, seed }: Position, length: number): void {
    whole("position.epoch", epoch, 0);
    whole("position.seed", seed, 0);
    if (whole("position.batch", batch, 0) > length)
      throw new TorchwireError(
        "MISUSE",
        `position.batch is ${batch}, and an epoch of this loader has ${length} batches`,
      );
    this.#current = { epoch, batch, seed };
    this.#begun = false;
  }

  /** The pass that would begin now. */
  get next(): Position {
    const { epoch, batch, seed } = this.#current;
    return this.#begun ? { epoch: epoch + 1, batch: 0, seed } : { epoch, batch, seed };
  }

  begin(): Pass {
    this.#current = { ...this.next };
    this.#begun = true;
    return this.#current;
  }

  /** The pass has given all of its batches. */
  end(pass: Pass): void {
    if (this.#current !== pass) return;
    this.#current = { ...pass, epoch: pass.epoch + 1, batch: 0 };
    this.#begun = false;
  }

  clone(): Passes {
    const copy = new Passes(this.#current.seed);
    copy.#current = { ...this.#current };
    copy.#begun = this.#begun;
    return copy;
  }
}

export function whole(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new TorchwireError("MISUSE", `${name} must be an integer from ${least} on, not ${String(value)}`);
}
