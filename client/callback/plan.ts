/** The callbacks in their order, each with its view of the learner, by the events that they take part in. */
import type { Callback, Measured } from "./callback.ts";
import { inOrder, whoWaits } from "./graph.ts";
import { protect } from "./protect.ts";
import { FEWEST, MOST, WORK_MS } from "../../bridge/pace/window.ts";
import type { EventName } from "../training/events.ts";
import { PUBLIC_PARTS } from "./parts.ts";
import type { Phase } from "../training/phases.ts";

export interface Participant {
  readonly callback: Callback;
  readonly on: Callback["on"];
  readonly observe: Callback["observe"];
  readonly measure: ((view: any) => Measured) | undefined;
  /** The view that its handlers get. */
  readonly view: object;
}

export class Plan {
  readonly callbacks: readonly Callback[];
  /** The callbacks that make the window 1. */
  readonly waiting: readonly Callback[];
  /** The callbacks that may cancel where a step is observed. */
  readonly cancelling: readonly Callback[];
  readonly #participants: readonly Participant[];
  /** The participants, by class of phase and by way and event. */
  readonly #known = new Map<unknown, Map<string, readonly Participant[]>>();

  /** `partsFor` returns the parts and circumstances that a callback's view looks at. */
  constructor(callbacks: readonly Callback[], partsFor: (callback: Callback) => object) {
    this.callbacks = inOrder(callbacks);
    this.waiting = whoWaits(this.callbacks);
    this.cancelling = this.callbacks.filter(
      ({ access, observe }) => access.control !== undefined && observe.stepEnd !== undefined,
    );
    this.#participants = this.callbacks.map((callback) => {
      const { on, observe, measure, access, name } = callback;
      return { callback, on, observe, measure, view: protect(partsFor(callback), access, name, PUBLIC_PARTS) };
    });
  }

  inline(event: EventName, phase: Phase): readonly Participant[] {
    return this.#those(phase, `on ${event}`, ({ on }) => on[event] !== undefined);
  }

  observing(event: EventName, phase: Phase): readonly Participant[] {
    return this.#those(phase, `observe ${event}`, ({ observe }) => observe[event] !== undefined);
  }

  measuring(phase: Phase): readonly Participant[] {
    return this.#those(phase, "measure", ({ measure }) => measure !== undefined);
  }

  /**
   * The steps in flight at most; undefined where that goes by their time. How many steps run after a callback has
   * cancelled must not depend on the machine.
   */
  window(given: number | undefined): number | undefined {
    if (this.waiting.length > 0) return 1;
    return given ?? (this.cancelling.length > 0 ? FEWEST : undefined);
  }

  /**
   * Returns text for people: events with those who take part, in order; what Python has called, by name and number; and
   * the window, of which `given` is the learner's option, and why.
   */
  explain(given?: number, calls: ReadonlyMap<string, number> = new Map()): string {
    const lines: string[] = [];
    const events = [
      "fitBegin",
      "epochBegin",
      "stepBegin",
      "lossBegin",
      "backwardBegin",
      "backwardEnd",
      "stepEnd",
      "epochEnd",
      "fitEnd",
    ];
    const others = this.callbacks
      .flatMap(({ on, observe }) => Object.keys({ ...on, ...observe }))
      .filter((event) => !events.includes(event));
    for (const event of [...events, ...new Set(others)]) {
      const names = this.#participants.flatMap(({ callback: { name, phase }, on, observe, measure }) => {
        const ways = [
          ...(on[event] === undefined ? [] : ["in line"]),
          ...(event === "stepEnd" && measure !== undefined ? ["measures"] : []),
          ...(observe[event] === undefined ? [] : ["observes"]),
        ];
        const where = phase === undefined ? "" : ` in ${phase.name}`;
        return ways.length === 0 ? [] : [`${name} (${ways.join(", ")}${where})`];
      });
      lines.push(`${event.padEnd(13)} ${names.join(", ") || "-"}`);
    }
    const around = this.callbacks.filter((one) => one.around !== undefined).map(({ name }) => name);
    if (around.length > 0) lines.push(`${"around epochs".padEnd(13)} ${around.join(", ")}`);
    if (calls.size > 0) {
      const counts = [...calls].map(([name, count]) => `${name} ${count} times`).join(", ");
      lines.push(
        `${"in Python".padEnd(13)} ${counts}: functions of this program that Python called, a round trip each`,
      );
    }
    const window = this.window(given);
    const number = window ?? `${FEWEST} to ${MOST}`;
    lines.push("", `steps in flight: ${number}${this.#because(given)}`);
    return lines.join("\n");
  }

  #because(given: number | undefined): string {
    const names = (those: readonly Callback[]): string => those.map(({ name }) => name).join(", ");
    if (this.waiting.length > 0)
      return `, because of ${names(this.waiting)}: in line, with values of a step or the right to cancel`;
    if (given !== undefined) return ", by the option window";
    if (this.cancelling.length > 0) return `, because of ${names(this.cancelling)}: may cancel when a step is observed`;
    return `, as many as make ${WORK_MS} ms of work`;
  }

  #those(phase: Phase, how: string, takesPart: (one: Participant) => boolean): readonly Participant[] {
    // Goes by class, because phases of several classes may have one name.
    let ofPhase = this.#known.get(phase.constructor);
    if (ofPhase === undefined) this.#known.set(phase.constructor, (ofPhase = new Map()));
    let those = ofPhase.get(how);
    if (those === undefined) {
      those = this.#participants.filter(
        (one) => takesPart(one) && (one.callback.phase === undefined || phase instanceof one.callback.phase),
      );
      ofPhase.set(how, those);
    }
    return those;
  }
}
