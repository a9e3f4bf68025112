import { shownPath } from "./bytes.ts";

interface RowGroup {
  readonly file: { readonly bytes: { readonly path: string } };
  readonly rows: number;
  /** About as much as it takes in memory. */
  readonly bytes: number;
}

/** Decoded row groups: those that were used last, as many as there is room for, and at least one. */
export class GroupCache<Group extends RowGroup, Decoded> {
  readonly #load: (group: Group) => Promise<Decoded>;
  readonly #most: number;
  readonly #held = new Map<Group, Decoded | Promise<Decoded>>();
  #bytes = 0;
  #loads = 0;
  #rows = 0;

  constructor(load: (group: Group) => Promise<Decoded>, most: number) {
    this.#load = load;
    this.#most = most;
  }

  get(group: Group): Decoded | Promise<Decoded> {
    this.#rows++;
    let held = this.#held.get(group);
    if (held !== undefined) {
      this.#held.delete(group);
      this.#held.set(group, held);
      return held;
    }
    held = this.#load(group).then(
      (decoded) => {
        if (this.#held.has(group)) this.#held.set(group, decoded);
        return decoded;
      },
      (error: unknown) => {
        if (this.#held.delete(group)) this.#bytes -= group.bytes;
        throw error;
      },
    );
    this.#held.set(group, held);
    this.#bytes += group.bytes;
    for (const oldest of this.#held.keys()) {
      if (this.#bytes <= this.#most || this.#held.size === 1) break;
      this.#held.delete(oldest);
      this.#bytes -= oldest.bytes;
    }
    this.#adviseWhereSlow(group);
    return held;
  }

  /** Rows in an order of their own make each row decode its group, where the groups do not stay in memory. */
  #adviseWhereSlow(group: Group): void {
    if (++this.#loads !== 32 || this.#rows >= 32 * Math.min(8, group.rows / 4)) return;
    process.emitWarning(
      `${shownPath(group.file.bytes.path)}: rows are read out of order, and the file's row groups do not fit into cacheBytes (${this.#most}): nearly each row decodes ${group.rows} rows. rows.cacheOnDisk(folder) makes this quick, and so does a larger cacheBytes`,
      { type: "TorchwireWarning" },
    );
  }
}
