/** Callbacks without a worker: what they may touch, in which order they come, what the learner says of it. */
import { describe, expect, test } from "vitest";
import {
  AbstractTrainingPhase,
  AbstractValidationPhase,
  callback,
  Metrics,
  MetricsPrinter,
  ProgressPrinter,
  PyTorchBackend,
  Recorder,
  StopOnNaNLoss,
  TrainingPhase,
  TorchwireError,
  ValidationPhase,
  metric,
  type Callback,
} from "torchwire";
import { CustomCallback } from "torchwire/callbacks";
import { CallbackObject } from "../../../client/callback/callback.ts";
import { inOrder } from "../../../client/callback/graph.ts";
import { protect } from "../../../client/callback/protect.ts";
import { withDefaults } from "../../../client/callbacks/defaults.ts";
import { Plan } from "../../../client/callback/plan.ts";
import { unchecked } from "../../tiny.ts";

/** The message of the MISUSE that `run` throws. */
function misuse(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof TorchwireError && error.code === "MISUSE") return error.message;
    throw error;
  }
  throw new Error("nothing was thrown");
}

const names = (callbacks: readonly Callback[]): string[] => callbacks.map(({ name }) => name);

describe("2.9.1: access at run time", () => {
  const parts = (): any => ({
    model: { name: "net" },
    step: { xs: [1, 2], ys: [3], loss: 4 },
    state: { history: { training: { epochs: 1, steps: [1, 2] } }, own: {} },
    control: { cancel: () => "cancelled" },
    epoch: 2,
  });
  const view = (access: object, of: object = parts(), name = "Looks"): any =>
    protect(of, unchecked(access), name, new Set(["epoch"]));

  test("without access there are the circumstances only, and they are read only", () => {
    const seen = view({});
    expect(seen.epoch).toBe(2);
    expect(misuse(() => seen.model)).toBe(
      'callback Looks has no read access to learner.model: say so in its access, model: "read"',
    );
    expect(misuse(() => seen.control)).toContain("no read access to learner.control");
    expect(misuse(() => (seen.epoch = 3))).toBe("learner.epoch is read only");
  });

  test("what handlers are never given is said to be so, with what they are given", () => {
    expect(misuse(() => view({}).worker)).toBe(
      "callback Looks: there is no learner.worker for handlers; there are model, optimizer, hyper, lossFn, data, step, state, control for those with access",
    );
  });

  test("what is declared is there, and what is not has its path in the message", () => {
    const seen = view({ step: { xs: "read" } });
    expect(seen.step.xs).toEqual([1, 2]);
    expect(misuse(() => seen.step.ys)).toBe(
      'callback Looks has no read access to learner.step.ys: say so in its access, step: { ys: "read" }',
    );
    expect(misuse(() => (seen.step.xs = 1))).toBe(
      'callback Looks has no write access to learner.step.xs: say so in its access, step: { xs: "write" }',
    );
    expect(misuse(() => (seen.step = {}))).toContain(
      'no write access to learner.step: say so in its access, step: "write"',
    );
    expect(misuse(() => delete seen.step.xs)).toContain("no write access to learner.step.xs");
    expect(misuse(() => Object.defineProperty(seen.step, "xs", { value: 1 }))).toContain("learner.step.xs");
    expect(misuse(() => Object.freeze(seen.step))).toContain("learner.step.");
  });

  test("write allows everything below, and no more", () => {
    const of = parts();
    const seen = view({ step: { xs: "write" }, state: { own: "write", history: "read" } }, of);
    seen.step.xs = 7;
    seen.state.own.deep = { er: 1 };
    seen.state.own.deep.er++;
    delete seen.state.own.none;
    expect(of.step.xs).toBe(7);
    expect(of.state.own).toEqual({ deep: { er: 2 } });
    expect(misuse(() => (seen.step.ys = 1))).toContain("no write access to learner.step.ys");
    expect(misuse(() => (seen.state.history = {}))).toContain("no write access to learner.state.history");
    expect(of.step.ys).toEqual([3]);
  });

  test("the view shows what is current: another step, and a step where there is one", () => {
    const of = parts();
    const seen = view({ step: { xs: "use" } }, of);
    const { step } = seen;
    of.step = { xs: [9] };
    expect(seen.step.xs).toEqual([9]);
    expect(step.xs).toEqual([9]);
  });

  test("a view can be awaited and printed without an error about then or toJSON", async () => {
    const seen = view({ step: { xs: "read" } });
    expect(await seen).toBe(seen);
    expect(JSON.stringify(seen.step)).toBe("{}");
  });

  test("what is read is read only at every depth: records and arrays", () => {
    const of = parts();
    const { history } = view({ state: { history: "read" } }, of).state;
    const said = (key: string): string => `learner.state.history.training${key} is read only for callback Looks`;
    expect(misuse(() => (history.training.epochs = 5))).toBe(said(".epochs"));
    expect(misuse(() => (history.validation = {}))).toBe(
      "learner.state.history.validation is read only for callback Looks",
    );
    expect(misuse(() => delete history.training.epochs)).toBe(said(".epochs"));
    expect(misuse(() => (history.training.steps[0] = 5))).toBe(said(".steps.0"));
    expect(misuse(() => history.training.steps.push(3))).toBe(said(".steps.push"));
    expect(misuse(() => (history.training.steps.length = 0))).toBe(said(".steps.length"));
    for (const change of ["pop", "shift", "unshift", "splice", "sort", "reverse", "fill", "copyWithin"])
      expect(misuse(() => history.training.steps[change](0))).toBe(said(`.steps.${change}`));
    expect(misuse(() => Object.assign(history.training, { epochs: 9 }))).toBe(said(".epochs"));
    expect(misuse(() => Object.preventExtensions(history.training))).toBe(said(".extensibility"));
    expect(misuse(() => Object.setPrototypeOf(history.training, null))).toBe(said(".prototype"));
    expect(misuse(() => Object.defineProperty(history, "x", { value: 1 }))).toContain("read only");
    expect(JSON.stringify(of)).toBe(JSON.stringify(parts()));
  });

  test("what methods of arrays and Object's functions give is read only too", () => {
    const inside = (): any => ({ state: { list: [{ a: 1 }] } });
    const of = inside();
    const { list } = view({ state: { list: "read" } }, of).state;
    const found: any[] = [
      list.at(0),
      list.find(() => true),
      list.filter(() => true)[0],
      list.slice()[0],
      [...list][0],
      list.concat([])[0],
      list.toSorted()[0],
      Object.values(list)[0],
      { ...list }[0],
      Object.getOwnPropertyDescriptor(list, 0)!.value,
    ];
    list.forEach((one: unknown) => found.push(one));
    for (const one of found) expect(misuse(() => (one.a = 2))).toContain("read only");
    expect(found).toHaveLength(11);
    expect(list).toEqual([{ a: 1 }]);
    expect(list.length).toBe(1);
    expect(Array.isArray(list)).toBe(true);
    expect(JSON.stringify(list)).toBe('[{"a":1}]');
    expect(of).toEqual(inside());
  });

  test("maps and sets can be read and not changed, nor what is in them", () => {
    const map = new Map([["a", { n: 1 }]]);
    const set = new Set([{ n: 1 }]);
    const seen = view({ state: { map: "read", set: "read" } }, { state: { map, set } }).state;
    expect([seen.map.size, seen.set.size, seen.map.has("a"), seen.map.get("a").n]).toEqual([1, 1, true, 1]);
    expect([...seen.map.keys()]).toEqual(["a"]);
    const found: any[] = [
      seen.map.get("a"),
      [...seen.map][0]![1],
      [...seen.map.values()][0],
      [...seen.map.entries()][0]![1],
      [...seen.set][0],
      [...seen.set.values()][0],
      [...seen.set.entries()][0]![1],
    ];
    seen.map.forEach((one: unknown) => found.push(one));
    seen.set.forEach((one: unknown) => found.push(one));
    for (const one of found) expect(misuse(() => (one.n = 2))).toContain("read only");
    for (const change of ["set", "delete", "clear"])
      expect(misuse(() => seen.map[change]("a", 1))).toBe(
        `learner.state.map.${change} is read only for callback Looks`,
      );
    for (const change of ["add", "delete", "clear"]) expect(misuse(() => seen.set[change](1))).toContain("read only");
    expect([map, set]).toEqual([new Map([["a", { n: 1 }]]), new Set([{ n: 1 }])]);
  });

  test("typed arrays, dates and objects of classes can be used and not changed", () => {
    class Counter {
      #count = 1;
      get count(): number {
        return this.#count;
      }
      twice(): number {
        return this.#count * 2;
      }
    }
    const numbers = Float32Array.of(1, 2, 3);
    const of = { state: { numbers, date: new Date(0), counter: new Counter(), frozen: Object.freeze([{ n: 1 }]) } };
    const seen = view({ state: { numbers: "read", date: "read", counter: "read", frozen: "read" } }, of).state;
    expect([...seen.numbers, seen.numbers[1], seen.numbers.length]).toEqual([1, 2, 3, 2, 3]);
    expect(seen.numbers.map((x: number) => x * 2)).toEqual(Float32Array.of(2, 4, 6));
    expect(misuse(() => (seen.numbers[0] = 9))).toBe("learner.state.numbers.0 is read only for callback Looks");
    for (const change of ["set", "fill", "sort", "reverse", "copyWithin"])
      expect(misuse(() => seen.numbers[change](0))).toContain("read only");
    expect(misuse(() => (seen.numbers.subarray(1)[0] = 9))).toContain("read only");
    expect(seen.date.getTime()).toBe(0);
    expect(misuse(() => seen.date.setTime(5))).toContain("read only");
    expect([seen.counter.count, seen.counter.twice(), seen.counter instanceof Counter]).toEqual([1, 2, true]);
    expect(misuse(() => (seen.frozen[0].n = 2))).toContain("read only");
    expect(seen.frozen).toEqual([{ n: 1 }]);
    expect([[...numbers], of.state.date.getTime(), of.state.frozen]).toEqual([[1, 2, 3], 0, [{ n: 1 }]]);
  });

  test("two callbacks that look at the same are each called by their own name", () => {
    const of = parts();
    const [one, other] = ["One", "Other"].map((name) => view({ state: { history: "read" } }, of, name).state.history);
    expect(misuse(() => (one.x = 1))).toContain("read only for callback One");
    expect(misuse(() => (other.x = 1))).toContain("read only for callback Other");
  });

  test("a callback says at once that its access has no such part or mode", () => {
    expect(misuse(() => callback({ name: "Odd", access: unchecked({ modle: "read" }) }))).toBe(
      'callback Odd: access has no "modle"; it has model, optimizer, hyper, lossFn, data, step, state, control',
    );
    expect(misuse(() => callback({ name: "Odd", access: unchecked({ step: { loss: "raed" } }) }))).toBe(
      'callback Odd: access.step.loss is "raed"; it must be "read", "use" or "write"',
    );
  });

  test("and that it has no name, a handler that is none, an event that cannot be observed", () => {
    expect(misuse(() => callback(unchecked({})))).toBe("a callback needs a name");
    expect(misuse(() => callback({ name: "Odd", on: unchecked({ stepEnd: 3 }) }))).toBe(
      "callback Odd: stepEnd is not a function",
    );
    expect(misuse(() => callback({ name: "Odd", observe: unchecked({ lossBegin: () => 1 }) }))).toBe(
      "callback Odd: lossBegin cannot be observed; only stepEnd, fitBegin, epochBegin, epochCancelled, epochEnd, interrupted, fitEnd can, " +
        'the others are for "on"',
    );
    expect(misuse(() => new CustomCallback("stepEnd", unchecked(undefined)))).toContain("there is no handler");
  });
});

describe("the order", () => {
  const made = (name: string, access: object = {}, runAfter: readonly string[] = []): Callback =>
    callback({ name, access: unchecked(access), runAfter });
  const order = (...callbacks: readonly Callback[]): string[] => names(inOrder(callbacks));

  test("where nothing else tells, who was added last goes first", () => {
    expect(order(made("a"), made("b"), made("c"))).toEqual(["c", "b", "a"]);
  });

  test("who writes goes before who reads or uses, at the same path, above and below it", () => {
    const writer = made("writer", { step: { xs: "write" } });
    for (const mode of ["read", "use"])
      for (const access of [{ step: { xs: mode } }, { step: mode }]) {
        expect(order(writer, made("reader", access))).toEqual(["writer", "reader"]);
        expect(order(made("reader", access), writer)).toEqual(["writer", "reader"]);
      }
    expect(order(made("all", { step: "write" }), made("reader", { step: { xs: "read" } }))).toEqual(["all", "reader"]);
    // Another path is no reason.
    expect(order(writer, made("other", { step: { ys: "read" } }))).toEqual(["other", "writer"]);
    expect(order(writer, made("model", { model: "write" }))).toEqual(["model", "writer"]);
  });

  test("runAfter, where the other one is there", () => {
    expect(order(made("a"), made("b", {}, ["a"]), made("c", {}, ["nobody"]))).toEqual(["c", "a", "b"]);
  });

  test("cancelling is no conflict", () => {
    const access = { control: "write" };
    expect(order(made("a", access), made("b", access))).toEqual(["b", "a"]);
  });

  test("of the default callbacks: FluxTraining's, and the table after the bar whose line it would break", () => {
    expect(names(inOrder(withDefaults([], true)))).toEqual([
      "PyTorchBackend",
      "Recorder",
      "Metrics",
      "StopOnNaNLoss",
      "ProgressPrinter",
      "MetricsPrinter",
    ]);
    // However they come.
    const all = [new MetricsPrinter(), new Metrics(), new ProgressPrinter(), new Recorder()];
    expect(order(...all)).toEqual(["Recorder", "ProgressPrinter", "Metrics", "MetricsPrinter"]);
  });

  test("a default callback is left out where one of its kind is given, and all but the backend where none is wanted", () => {
    const own = new Metrics(metric("one", { update: () => ({}), compute: () => 1 }));
    expect(withDefaults([own], true).filter((one) => one instanceof Metrics)).toEqual([own]);
    expect(names(withDefaults([own], false))).toEqual(["Metrics", "PyTorchBackend"]);
    const backend = new PyTorchBackend();
    expect(withDefaults([backend], false)).toEqual([backend]);
  });

  test("two that write the same, or one above the other, are refused: both and the path are named", () => {
    expect(misuse(() => order(made("A", { step: { xs: "write" } }), made("B", { step: { xs: "write" } })))).toBe(
      'callbacks A and B both write step.xs: say which goes first, by runAfter: ["B"] in A or the other way round, or by resolveConflict in either',
    );
    expect(misuse(() => order(made("A", { step: "write" }), made("B", { step: { xs: "write" } })))).toContain(
      "callbacks A and B both write step.xs",
    );
    expect(misuse(() => order(made("A", { model: "write" }), made("B", { model: "write" })))).toContain("write model");
  });

  test("and in order where one of them says so", () => {
    const [access, a] = [{ step: "write" }, made("A", { step: "write" })];
    expect(order(a, made("B", access, ["A"]))).toEqual(["A", "B"]);
    expect(order(made("B", access, ["A"]), a)).toEqual(["A", "B"]);
  });

  describe("resolveConflict", () => {
    type Says = Callback["resolveConflict"];
    const saying = (name: string, access: object, resolveConflict?: Says): Callback =>
      callback({ name, access: unchecked(access), ...(resolveConflict === undefined ? {} : { resolveConflict }) });
    const both = { step: { xs: "write" } };
    const about =
      (name: string, answer: string): Says =>
      (other) =>
        unchecked(other.name === name ? answer : undefined);

    test("two that write the same: either of them can say who goes first, however they come", () => {
      for (const answer of ["before", "after"] as const) {
        const expected = answer === "before" ? ["A", "B"] : ["B", "A"];
        const a = saying("A", both, about("B", answer));
        const b = saying("B", both);
        expect([order(a, b), order(b, a)]).toEqual([expected, expected]);
        const turned = saying("B", both, about("A", answer === "before" ? "after" : "before"));
        expect([order(saying("A", both), turned), order(turned, saying("A", both))]).toEqual([expected, expected]);
        expect(order(a, turned)).toEqual(expected);
      }
    });

    test("a reader can go before who writes; either leaves it to the order in which they were added", () => {
      const [writer, reader] = [saying("W", both), { step: { xs: "read" } }];
      expect(order(writer, saying("R", reader))).toEqual(["W", "R"]);
      expect(order(writer, saying("R", reader, about("W", "before")))).toEqual(["R", "W"]);
      expect(order(saying("W", both, about("R", "after")), saying("R", reader))).toEqual(["R", "W"]);
      expect(order(writer, saying("R", reader, about("W", "either")))).toEqual(["R", "W"]);
      expect(order(saying("R", reader, about("W", "either")), writer)).toEqual(["W", "R"]);
      expect(order(saying("A", both, about("B", "either")), saying("B", both))).toEqual(["B", "A"]);
    });

    test("what cannot be used together is refused, and so are two that contradict each other, and an answer that is none", () => {
      expect(misuse(() => order(saying("A", both), saying("B", both, about("A", "never"))))).toBe(
        "callbacks A and B cannot be used together: both have to do with step.xs",
      );
      expect(
        misuse(() => order(saying("A", both, about("B", "before")), saying("B", both, about("A", "before")))),
      ).toBe('callbacks A and B contradict each other in resolveConflict: "before" and "before"');
      expect(misuse(() => order(saying("A", both, about("B", "first")), saying("B", both)))).toBe(
        "callback A: resolveConflict gave first; it must return before, after, either, never or undefined",
      );
    });

    test("it is asked only where there is a conflict, and its cycles are named", () => {
      let asked = 0;
      const counts: Says = () => (asked++, "never");
      expect(order(saying("A", both, counts), saying("B", { step: { ys: "write" } }))).toEqual(["B", "A"]);
      expect(asked).toBe(0);
      const a = callback({ name: "A", access: unchecked(both), runAfter: ["B"], resolveConflict: () => "before" });
      expect(misuse(() => order(a, saying("B", both)))).toContain("B goes after A (resolveConflict, step.xs)");
    });
  });

  test("runAfter by class: of a class, and of those derived from it", () => {
    const last = callback({ name: "last", runAfter: [Recorder, CallbackObject] });
    expect(order(last, new Recorder(), new ProgressPrinter()).at(-1)).toBe("last");
    expect(order(new Recorder(), callback({ name: "free" }))).toEqual(["free", "Recorder"]);
  });

  test("state that nobody writes: who reads it, the path, and who provides it", () => {
    expect(misuse(() => order(made("Printer", { state: { history: "read" } })))).toBe(
      "callback Printer reads state.history, which no callback writes: add Recorder",
    );
    expect(misuse(() => order(new MetricsPrinter(), new Recorder()))).toBe(
      "callback MetricsPrinter reads state.metricsEpoch, which no callback writes: add Metrics",
    );
    expect(misuse(() => order(made("Best", { state: { best: "use" } })))).toBe(
      "callback Best reads state.best, which no callback writes",
    );
  });

  test("a cycle is named, with why each goes after the other", () => {
    const a = made("A", { step: { xs: "write", ys: "read" } });
    const b = made("B", { step: { ys: "write", xs: "read" } });
    const innocent = made("C", { step: { xs: "read" } });
    expect(misuse(() => order(innocent, a, b))).toMatch(
      /^the callbacks cannot be ordered: (A goes after B \(step\.ys\), B goes after A \(step\.xs\)|B goes after A \(step\.xs\), A goes after B \(step\.ys\))$/,
    );
    expect(misuse(() => order(made("A", {}, ["B"]), made("B", {}, ["C"]), made("C", {}, ["A"])))).toMatch(
      /A goes after B \(runAfter\).*B goes after C \(runAfter\).*C goes after A \(runAfter\)/,
    );
  });

  test("one name twice is refused", () => {
    expect(misuse(() => order(made("A"), made("A")))).toBe(
      "there are two callbacks called A: give one of them another name, or leave it out",
    );
    expect(misuse(() => order(new Recorder(), new Recorder()))).toContain("two callbacks called Recorder");
  });
});

describe("who takes part", () => {
  class Adversarial extends AbstractTrainingPhase {
    readonly name = "adversarial";
    step = (): Promise<never> => Promise.reject(new Error("never run"));
  }
  class Namesake extends AbstractValidationPhase {
    readonly name = "training";
    step = (): Promise<never> => Promise.reject(new Error("never run"));
  }
  const plan = (...callbacks: readonly Callback[]): Plan => new Plan(callbacks, () => ({}));
  const inline = (of: Plan, phase: any): string[] => names(of.inline("stepBegin", phase).map((one) => one.callback));

  test("a callback for a class of phases is there in those derived from it, and in no other", () => {
    const at = (phase?: any): Callback =>
      new CustomCallback("stepBegin", () => undefined, { phase, name: phase?.name ?? "all" });
    const all = plan(at(), at(AbstractTrainingPhase), at(ValidationPhase), at(Adversarial));
    expect(inline(all, new TrainingPhase())).toEqual(["AbstractTrainingPhase", "all"]);
    expect(inline(all, new Adversarial())).toEqual(["Adversarial", "AbstractTrainingPhase", "all"]);
    expect(inline(all, new ValidationPhase())).toEqual(["ValidationPhase", "all"]);
  });

  test("phases are told apart by their class, also where they have one name", () => {
    const one = plan(new CustomCallback("stepBegin", () => undefined, { phase: AbstractTrainingPhase, name: "one" }));
    expect(inline(one, new TrainingPhase())).toEqual(["one"]);
    expect(inline(one, new Namesake())).toEqual([]);
  });

  test("a callback that reads values of a step in line, or may cancel there, sets the window to 1", () => {
    const waiting = (spec: object): number => plan(callback({ name: "A", ...spec })).waiting.length;
    const on = { stepEnd: () => undefined };
    expect(waiting({ access: { step: { loss: "read" } }, on })).toBe(1);
    expect(waiting({ access: { step: "read" }, on: { ownEvent: () => undefined } })).toBe(1);
    expect(waiting({ access: { control: "write" }, on })).toBe(1);
    expect(waiting({ access: { step: { loss: "use", xs: "write" }, model: "read" }, on })).toBe(0);
    // Where nothing is in flight, nothing is waited for.
    expect(waiting({ access: { step: { loss: "read" }, control: "write" }, on: { epochEnd: () => undefined } })).toBe(
      0,
    );
    expect(waiting({ access: { control: "write" }, observe: { stepEnd: () => undefined } })).toBe(0);
    expect(waiting({ access: { step: { loss: "read" } }, measure: () => ({}) })).toBe(0);
  });

  test("explain: each event with who is there and how, the window and why", () => {
    const looks = callback({
      name: "Looks",
      access: { step: { loss: "read" } },
      phase: TrainingPhase,
      on: unchecked({ backwardEnd: () => undefined, fakeEnd: () => undefined }),
      measure: () => ({}),
      observe: { epochEnd: () => undefined },
    });
    expect(plan(new Recorder(), looks).explain(1)).toBe(`\
fitBegin      -
epochBegin    Recorder (observes)
stepBegin     -
lossBegin     -
backwardBegin -
backwardEnd   Looks (in line in TrainingPhase)
stepEnd       Looks (measures in TrainingPhase), Recorder (observes)
epochEnd      Looks (observes in TrainingPhase), Recorder (observes)
fitEnd        -
fakeEnd       Looks (in line in TrainingPhase)

steps in flight: 1, because of Looks: in line, with values of a step or the right to cancel`);
    expect(plan(new StopOnNaNLoss()).explain()).toMatch(/\nsteps in flight: 3 to 32, as many as make 25 ms of work$/);
    expect(plan(new StopOnNaNLoss()).explain(5)).toMatch(/\nsteps in flight: 5, by the option window$/);
    expect(plan(new StopOnNaNLoss({ late: true })).explain()).toMatch(
      /\nsteps in flight: 3, because of StopOnNaNLoss: may cancel when a step is observed$/,
    );
    expect(plan(new StopOnNaNLoss()).explain(3, new Map([["scale", 12]]))).toContain(
      "\nin Python     scale 12 times: functions of this program that Python called, a round trip each\n\nsteps in flight: 3",
    );
    expect(plan(new StopOnNaNLoss()).explain(3)).toContain(
      "backwardEnd   StopOnNaNLoss (in line in AbstractTrainingPhase)",
    );
  });
});
