/** Each fault at each place in each kind of training, and why some are left out. */
import { Dice } from "../fixtures/dice.ts";
import { kinds, type Kind } from "./kinds.ts";
import type { Place } from "./program.ts";

export const blows = [
  "kill the worker",
  "kill the program",
  "kill both",
  "stop the worker for 10 s",
  "stop the program for 10 s",
  "cut the link past the grace time",
  "fill the disk",
  "terminate the program",
] as const;

export type Blow = (typeof blows)[number];

const KILLS: readonly Blow[] = ["kill the worker", "kill the program", "kill both", "terminate the program"];

/** One program of several, which is hit at a place. */
export interface Hit {
  readonly place: Place;
  readonly blow: Blow;
}

export interface Fault {
  readonly blow: Blow | "one after the other";
  readonly where: string;
  readonly kind: Kind;
  /** One for each program but the last. */
  readonly hits: readonly Hit[];
  /** Why it makes no sense. */
  readonly skipped?: string;
}

export const nameOf = ({ blow, where, kind }: Fault): string => `${blow}, ${where}, ${kind.name}`;

/** The places by their names in a table. Each is passed with the number that a kind gives. */
const places: { readonly [where: string]: (kind: Kind) => Place | string } = {
  "before a step is received": () => ({ name: "step", number: 8 }),
  "after a step is received": () => ({ name: "forward", number: 9 }),
  "after backward": ({ accumulate }) => ({ name: "backward", number: accumulate === 1 ? 8 : 5 }),
  "after the update, before its reply": ({ accumulate }) => ({ name: "update", number: accumulate === 1 ? 8 : 5 }),
  "in validation": () => ({ name: "validation", number: 3 }),
  "at an epoch's end": () => ({ name: "epoch", number: 2 }),
  "in epoch 3": () => ({ name: "forward", number: 13 }),
  "in the middle of a group": ({ accumulate }) =>
    accumulate === 1 ? "its groups have one batch" : { name: "gradient", number: 8 },
  "while a checkpoint is written": ({ hasNoPosition }) => ({ name: "written", number: hasNoPosition ? 2 : 3 }),
  "after the rename, before the pointer": ({ hasNoPosition }) => ({ name: "renamed", number: hasNoPosition ? 2 : 3 }),
};

const RESUME = "during resume";

/** A kill that leaves checkpoints to go on from. */
const before = (kind: Kind): Hit => ({ blow: "kill the program", place: places["in epoch 3"]!(kind) as Place });

function at(where: string, kind: Kind, blow: Blow): Fault {
  if (where === RESUME)
    return { blow, where, kind, hits: [before(kind), { blow, place: { name: "restoring", number: 1 } }] };
  const place = places[where]!(kind);
  return typeof place === "string"
    ? { blow, where, kind, hits: [], skipped: place }
    : { blow, where, kind, hits: [{ blow, place }] };
}

/** Resumes of resumes, hit early or while they resume; and a program whose fit is over. */
function chains(kind: Kind): Fault[] {
  const hit = (name: string, number: number, blow: Blow): Hit => ({ blow, place: { name, number } });
  const last = "kill the program";
  const blow = "one after the other";
  return [
    {
      blow,
      where: "killed later and later",
      kind,
      hits: [hit("forward", 7, "kill the program"), hit("forward", 5, "kill the worker"), hit("step", 4, "kill both")],
    },
    {
      blow,
      where: "killed while it resumes, twice",
      kind,
      hits: [before(kind), hit("loading", 1, "kill the worker"), hit("restoring", 1, "kill both")],
    },
    { blow: last, where: "after the fit's end", kind, hits: [hit("ended", 1, last)] },
  ];
}

/** The places above with other numbers, thrown once and for all. */
function others(count: number): Fault[] {
  const dice = new Dice(17);
  const highest = { step: 20, forward: 20, update: 11, validation: 8, epoch: 4, renamed: 3, written: 3 } as const;
  const taken = new Set<string>();
  const found: Fault[] = [];
  while (found.length < count) {
    const name = dice.pick(Object.keys(highest) as (keyof typeof highest)[]);
    const number = dice.from(1, highest[name]);
    const [blow, kind] = [dice.pick(KILLS), dice.pick(kinds)];
    const fault = { blow, kind, where: `${name} ${number}`, hits: [{ blow, place: { name, number } }] };
    if (taken.has(nameOf(fault))) continue;
    taken.add(nameOf(fault));
    found.push(fault);
  }
  return found;
}

export function allFaults(): Fault[] {
  const crossed = kinds.flatMap((kind) =>
    (kind.on === "worker" ? [...KILLS, "fill the disk" as const] : blows).flatMap((blow) =>
      [...Object.keys(places), RESUME].map((where) => at(where, kind, blow)),
    ),
  );
  return [...crossed, ...kinds.flatMap(chains), ...others(28)];
}
