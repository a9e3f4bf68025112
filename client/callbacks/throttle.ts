import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { Callback, KeptState } from "../callback/callback.ts";
import type { EventName } from "../training/events.ts";
import { described, keywordsOf, type Kinds } from "../options/keywords.ts";
import { atLeast0, wholeFrom } from "../options/kinds.ts";

/** Exactly one of the two. */
export type ThrottleOptions =
  | {
      /** Tells it the 1st time, and every `freq`-th after it: for 2 the 1st, the 3rd, the 5th. */
      readonly freq: number;
      readonly seconds?: never;
    }
  | {
      /** Tells it the 1st time, and then when so many seconds have passed since the last time. */
      readonly seconds: number;
      readonly freq?: never;
    };

const KINDS: Kinds<ThrottleOptions> = { freq: wholeFrom(1), seconds: atLeast0 };

/**
 * Returns `callback`, but tells it of `event` only now and then; other events do not change. It is still of its class
 * and has its name, access and order, so that `throttle(new Recorder(), "stepEnd", { freq: 2 })` takes the place of the
 * default one.
 *
 * It counts over all epochs. Steps are chosen when they are issued: an observer gets the values of those that it
 * measured. Throws MISUSE where the callback has nothing to do at that event.
 */
export function throttle<T extends Callback>(callback: T, event: EventName, options: ThrottleOptions): T {
  keywordsOf<ThrottleOptions>("throttle", KINDS, options);
  const { freq, seconds } = options;
  if ((freq === undefined) === (seconds === undefined)) throw misuse("throttle takes either freq or seconds");
  if (typeof callback?.on !== "object") throw misuse(`throttle: ${described(callback)} is not a callback`);
  const { on, observe } = callback;
  const measure = event === "stepEnd" ? callback.measure : undefined;
  if (on[event] === undefined && observe[event] === undefined && measure === undefined)
    throw misuse(
      `throttle: ${callback.name} does nothing at ${event}; it has ${[...new Set([...Object.keys(on), ...Object.keys(observe)])].join(", ")}`,
    );

  let times = 0;
  let last = -Infinity;
  const decide = (): boolean => {
    const now = performance.now();
    const fires = freq === undefined ? now - last >= seconds * 1000 : times % freq === 0;
    times++;
    if (fires) last = now;
    return fires;
  };
  // One occurrence may come to several handlers, the observer up to a window later: the first one decides for all.
  const stages = [on[event], measure, observe[event]].filter((handler) => handler !== undefined);
  const decided = new Map<string, boolean>();
  const gated = <R>(handler: ((view: any) => R) | undefined, otherwise: R): ((view: any) => R) | undefined =>
    handler &&
    ((view) => {
      const { phase, epoch, index } = view as { phase: { name: string }; epoch: number; index: number };
      const key = `${phase.name} ${epoch} ${index}`;
      if (handler === stages[0]) decided.set(key, decide());
      const fires = decided.get(key)!;
      if (handler === stages.at(-1)) decided.delete(key);
      return fires ? handler(view) : otherwise;
    });
  const replaced = {
    on: { ...on, ...(on[event] && { [event]: gated(on[event], undefined) }) },
    observe: { ...observe, ...(observe[event] && { [event]: gated(observe[event], undefined) }) },
    measure: measure === undefined ? callback.measure : gated(measure, {}),
    state: withOwn(callback.state, {
      save: () => [times, performance.now() - last],
      load: ([counted, passed]: [number, number]) => {
        [times, last] = [counted, performance.now() - passed];
        decided.clear();
      },
    }),
  };
  return new Proxy(callback, {
    // Private fields exist on the object itself, and not on the proxy.
    get(target, key) {
      if (Object.hasOwn(replaced, key)) return replaced[key as keyof typeof replaced];
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" && key !== "constructor" ? (value as () => unknown).bind(target) : value;
    },
  });
}

/** The state of a callback, and what is kept about it. */
const withOwn = (its: Callback["state"], own: KeptState): Callback["state"] =>
  its === undefined || (its !== "none" && "refuses" in its)
    ? its
    : {
        ...(its === "none" ? {} : its),
        save: () => [its === "none" ? undefined : its.save(), own.save()],
        load: async ([saved, ours]: [unknown, unknown]) => {
          if (its !== "none") await its.load(saved);
          await own.load(ours);
        },
      };

const misuse = (message: string): TorchwireError => new TorchwireError("MISUSE", message);
