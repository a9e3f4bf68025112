/** The references that a batch makes, frees and reads, by their ids. */
import type { Operation } from "../log/batch.ts";
import { Op, Tag } from "../wire/codes.ts";

export interface Traffic {
  /** Those that it makes, and that outlive it. */
  readonly made: readonly number[];
  /** Ranges of ids of other batches that it frees. */
  readonly freed: readonly number[];
}

/** The fields of a batch's meta that tell of references. */
export interface BatchMeta {
  readonly first: number;
  readonly operations: readonly (readonly unknown[])[];
  readonly finalised?: readonly number[];
  readonly contexts?: readonly { readonly eval: readonly number[]; readonly train: readonly number[] }[];
}

/** (It is called for each step, so it makes no array for what is freed at once.) */
export function trafficOf(
  first: number,
  operations: readonly Operation[] | BatchMeta["operations"],
  finalised: readonly number[] = NONE,
): Traffic {
  let freed: number[] | undefined;
  let own: number[] | undefined;
  for (let i = operations.length - 1; i >= 0; i--) {
    const operation = operations[i]!;
    if (operation[0] !== Op.release) continue;
    const ranges = operation[1] as readonly number[];
    for (let j = 0; j < ranges.length; j += 2) {
      const from = ranges[j]!;
      const to = ranges[j + 1]!;
      // A range may begin before the batch and end in it.
      if (from >= 0) (freed ??= [...finalised]).push(from, to >= 0 ? to : first - 1);
      if (to < 0) (own ??= []).push(from >= 0 ? first : first - 1 - from, first - 1 - to);
    }
  }
  const gone = own === undefined ? NONE : ascending(own);
  const made: number[] = [];
  let id = first;
  let at = 0;
  for (let i = 0; i < operations.length; i++) {
    const operation = operations[i]!;
    const values = valuesOf(operation[0] as number, operation);
    for (let end = id + values; id < end; id++) {
      while (gone[at + 1]! < id) at += 2;
      if (!(gone[at]! <= id)) made.push(id);
    }
    if (values === 0) id++;
  }
  return { made, freed: freed ?? finalised };
}

const NONE: readonly number[] = [];

/** Ranges in their order. (Those of one operation are so already.) */
function ascending(ranges: readonly number[]): readonly number[] {
  let isInOrder = true;
  for (let i = 2; i < ranges.length && isInOrder; i += 2) isInOrder = ranges[i]! > ranges[i - 1]!;
  if (isInOrder) return ranges;
  const pairs = ranges.flatMap((from, i) => (i % 2 === 0 ? [[from, ranges[i + 1]!]] : []));
  return pairs.toSorted(([a], [b]) => a! - b!).flat();
}

/** How many positions of an operation hold a value; 0 where it only takes one. */
function valuesOf(code: number, operation: readonly unknown[]): number {
  if (code === Op.call) return (operation[2] as readonly string[]).length + 1;
  if (code === Op.get) return (operation[2] as readonly string[]).length;
  if (code === Op.arguments) return operation[1] as number;
  return code === Op.import || code === Op.getItem ? 1 : 0;
}

/** The ids of other batches that a batch reads. */
export function readsOf({ operations, contexts = [] }: BatchMeta): Set<number> {
  const read = new Set<number>();
  const note = (id: unknown): void => {
    if (typeof id === "number" && id >= 0) read.add(id);
  };
  const visit = (token: unknown): void => {
    if (!Array.isArray(token)) return;
    const [tag, ...items] = token as [number, ...unknown[]];
    if (tag === Tag.reference) note(items[0]);
    else if (tag === Tag.list || tag === Tag.tuple || tag === Tag.dict || tag === Tag.slice) items.forEach(visit);
  };
  for (const [code, target, ...rest] of operations) {
    if (code === Op.return) visit(target);
    if (code === Op.import || code === Op.release || code === Op.arguments || code === Op.return || code === Op.raise)
      continue;
    note(target);
    if (code === Op.call) {
      const [, args, kwargs] = rest as [unknown, readonly unknown[], object];
      args.forEach(visit);
      Object.values(kwargs).forEach(visit);
    } else rest.forEach(visit);
  }
  for (const { eval: evaluated, train } of contexts) [...evaluated, ...train].forEach(note);
  return read;
}
