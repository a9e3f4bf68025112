/** The callbacks in their order, each with its view of the learner, by the events that they take part in. */
import type { Callback, Measured } from "./callback.ts";
import { inOrder, whoWaits } from "./graph.ts";
import { protect } from "./protect.ts";
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
  readonly #participants: readonly Participant[];
  /** The participants, by class of phase and by way and event. */
  readonly #known = new Map<unknown, Map<string, readonly Participant[]>>();

  /** `partsFor` returns the parts and circumstances that a callback's view looks at. */
  constructor(callbacks: readonly Callback[], partsFor: (callback: Callback) => object) {
    this.callbacks = inOrder(callbacks);
    this.waiting = whoWaits(this.callbacks);
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
   * Returns text for people: events with those who take part, in order; what Python has called, by name and number; and
   * the window and why.
   */
  explain(window: number, calls: ReadonlyMap<string, number> = new Map()): string {
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
    const because =
      this.waiting.length === 0
        ? ""
        : `, because of ${this.waiting.map(({ name }) => name).join(", ")}: in line, with values of a step or the right to cancel`;
    if (calls.size > 0) {
      const counts = [...calls].map(([name, count]) => `${name} ${count} times`).join(", ");
      lines.push(
        `${"in Python".padEnd(13)} ${counts}: functions of this program that Python called, a round trip each`,
      );
    }
    lines.push("", `steps in flight: ${window}${because}`);
    return lines.join("\n");
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
