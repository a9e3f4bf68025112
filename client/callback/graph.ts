/** Orders callbacks by what they read and write. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { lookAfter } from "../../bridge/reference/refused.ts";
import { isStepEvent, type EventName } from "../training/events.ts";
import { described } from "../options/keywords.ts";
import type { Access, Mode } from "./access.ts";
import type { Callback, CallbackClass, Resolution } from "./callback.ts";

/** One part that a callback touches: `["step", "loss"]`. */
interface Touch {
  readonly path: readonly string[];
  readonly mode: Mode;
}

/** Whether some callback must write it before another can read it. A learner has everything else by itself. */
const isProvided = ([first]: readonly string[]): boolean => first === "state";

/**
 * Returns `callbacks` in the order in which they run at each event: a writer before a reader, and each after those of
 * its `runAfter`. Where that leaves a choice, the one that was added last goes first, as in FluxTraining.
 *
 * Throws MISUSE, naming callbacks and paths: a name twice, two that write the same, a reader of state that nobody
 * writes, a cycle.
 */
export function inOrder(callbacks: readonly Callback[]): Callback[] {
  const edges = edgesOf(callbacks);
  const order: Callback[] = [];
  const left = [...callbacks];
  while (left.length > 0) {
    const next = left.findLast((one) => !left.some((other) => edges.get(one)!.has(other)));
    if (next === undefined) throw cycle(left, edges);
    order.push(next);
    left.splice(left.indexOf(next), 1);
  }
  return order;
}

/** Finds for each callback those that go before it, and why. */
export function edgesOf(callbacks: readonly Callback[]): Map<Callback, Map<Callback, string>> {
  const names = new Set<string>();
  for (const { name } of callbacks) {
    if (names.has(name))
      throw misuse(`there are two callbacks called ${name}: give one of them another name, or leave it out`);
    names.add(name);
  }
  const touches = new Map(callbacks.map((one) => [one, touchesOf(one.access)]));
  const edges = new Map(callbacks.map((one) => [one, new Map<Callback, string>()]));
  const goesAfter = (one: Callback, before: Callback, why: string): void => void edges.get(one)!.set(before, why);
  for (const one of callbacks)
    for (const other of callbacks)
      if (one !== other && one.runAfter.some((kind) => isOf(other, kind))) goesAfter(one, other, "runAfter");
  for (const [i, one] of callbacks.entries())
    for (const other of callbacks.slice(i + 1)) {
      const conflict = conflictOf(touches.get(one)!, touches.get(other)!);
      if (conflict === undefined) continue;
      const { both, first, second } = conflict;
      const path = (both ?? first ?? second)!;
      const resolved = resolutionOf(one, other);
      if (resolved === "never")
        throw misuse(`callbacks ${one.name} and ${other.name} cannot be used together: both have to do with ${path}`);
      if (resolved === "before") goesAfter(other, one, `resolveConflict, ${path}`);
      if (resolved === "after") goesAfter(one, other, `resolveConflict, ${path}`);
      if (resolved !== undefined) continue;
      if (both !== undefined && !edges.get(one)!.has(other) && !edges.get(other)!.has(one))
        throw misuse(
          `callbacks ${one.name} and ${other.name} both write ${both}: say which goes first, by runAfter: ["${other.name}"] ` +
            `in ${one.name} or the other way round, or by resolveConflict in either`,
        );
      if (first !== undefined) goesAfter(other, one, first);
      if (second !== undefined) goesAfter(one, other, second);
    }
  for (const one of callbacks)
    for (const { path, mode } of touches.get(one)!) {
      if (mode === "write" || !isProvided(path)) continue;
      if (!callbacks.some((other) => touches.get(other)!.some((t) => t.mode === "write" && overlap(t.path, path))))
        throw misuse(`callback ${one.name} reads ${path.join(".")}, which no callback writes${providerOf(path)}`);
    }
  return edges;
}

function touchesOf(access: Access): Touch[] {
  const touches: Touch[] = [];
  const walk = (part: unknown, path: string[]): void => {
    if (part === undefined) return;
    if (typeof part === "string") touches.push({ path, mode: part as Mode });
    else for (const [key, inner] of Object.entries(part as object)) walk(inner, [...path, key]);
  };
  for (const [key, part] of Object.entries(access)) if (key !== "control") walk(part, [key]);
  return touches;
}

/** The paths where two callbacks meet: one that both write, and those that one of them writes and the other reads. */
interface Conflict {
  readonly both: string | undefined;
  readonly first: string | undefined;
  readonly second: string | undefined;
}

function conflictOf(mine: readonly Touch[], theirs: readonly Touch[]): Conflict | undefined {
  const found: { -readonly [K in keyof Conflict]: Conflict[K] } = {
    both: undefined,
    first: undefined,
    second: undefined,
  };
  for (const a of mine)
    for (const b of theirs) {
      if (!overlap(a.path, b.path) || (a.mode !== "write" && b.mode !== "write")) continue;
      const writer = a.mode !== "write" ? "second" : b.mode !== "write" ? "first" : "both";
      found[writer] ??= longer(a.path, b.path);
    }
  return Object.values(found).some((path) => path !== undefined) ? found : undefined;
}

const opposite = { before: "after", after: "before", either: "either", never: "never" } as const;

/** Returns what the two say of each other, as seen from `one`. Throws MISUSE where they contradict each other. */
function resolutionOf(one: Callback, other: Callback): Resolution | undefined {
  const mine = one.resolveConflict?.(other);
  const theirs = other.resolveConflict?.(one);
  for (const [name, said] of [
    [one.name, mine],
    [other.name, theirs],
  ] as const)
    if (said !== undefined && !Object.hasOwn(opposite, said)) {
      lookAfter([mine, theirs]);
      throw misuse(
        `callback ${name}: resolveConflict gave ${typeof (said as unknown) === "string" ? said : described(said)}; it must return ${Object.keys(opposite).join(", ")} or undefined`,
      );
    }
  const turned = theirs && opposite[theirs];
  if (mine === "never" || turned === "never") return "never";
  if (mine !== undefined && turned !== undefined && mine !== turned)
    throw misuse(
      `callbacks ${one.name} and ${other.name} contradict each other in resolveConflict: "${mine}" and "${theirs!}"`,
    );
  return mine ?? turned;
}

/** Whether `callback` goes by this name, or is of this class. */
export const isOf = (callback: Callback, kind: string | CallbackClass): boolean =>
  typeof kind === "string" ? callback.name === kind : callback instanceof kind;

const overlap = (a: readonly string[], b: readonly string[]): boolean =>
  a.slice(0, b.length).every((key, i) => key === b[i]);

const longer = (a: readonly string[], b: readonly string[]): string => (a.length > b.length ? a : b).join(".");

const PROVIDERS: { readonly [path: string]: string } = {
  "state.history": "Recorder",
  "state.metricsStep": "Metrics",
  "state.metricsEpoch": "Metrics",
  "state.metricsTable": "Metrics",
  "state.hyperparams": "Scheduler",
  "state.traces": "Traces",
  "state.checkpoints": "Checkpointer",
};

function providerOf(path: readonly string[]): string {
  const provider = PROVIDERS[path.join(".")];
  return provider === undefined ? "" : `: add ${provider}`;
}

function cycle(left: readonly Callback[], edges: ReturnType<typeof edgesOf>): TorchwireError {
  const path = [left[0]!];
  for (;;) {
    const next = left.find((other) => edges.get(path.at(-1)!)!.has(other))!;
    const start = path.indexOf(next);
    path.push(next);
    if (start < 0) continue;
    const steps = path.slice(start, -1).map((one, i) => {
      const before = path[start + i + 1]!;
      return `${one.name} goes after ${before.name} (${edges.get(one)!.get(before)!})`;
    });
    return misuse(`the callbacks cannot be ordered: ${steps.join(", ")}`);
  }
}

/**
 * Finds the callbacks that make the loop keep one step in flight: in line they may await values of a step, or cancel.
 */
export function whoWaits(callbacks: readonly Callback[]): Callback[] {
  return callbacks.filter(({ access, on }) => {
    if (!Object.keys(on).some((event) => isStepEvent(event as EventName))) return false;
    return access.control !== undefined || touchesOf(access).some((t) => t.path[0] === "step" && t.mode === "read");
  });
}

function misuse(message: string): TorchwireError {
  return new TorchwireError("MISUSE", message);
}
