/** What the callbacks of a learner are in a script. */
import { py } from "../../bridge/reference/py.ts";
import type { Callback } from "../callback/callback.ts";
import { type PythonForm, type ScheduledValues, type WithPythonForm } from "../callback/python-form.ts";
import { PyTorchBackend } from "../backend/pytorch-backend.ts";
import { snakeCase } from "../options/keywords.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";

/** The length of the fit, in steps of the optimizer; undefined where the data does not say it. */
export interface Length {
  readonly steps: number;
  readonly stepsPerEpoch: number;
}

interface Gap {
  readonly name: string;
  readonly place: string;
  readonly why: string;
}

/** What of the callbacks the script is told: those that it has, those that it lacks, and those that only watch. */
export function callbacksOf(
  callbacks: readonly Callback[],
  length: Length | undefined,
): { readonly [key: string]: unknown } {
  const gaps: Gap[] = [];
  const watchers: string[] = [];
  const averages: object[] = [];
  const schedules: object[] = [];
  let stopsOnNaN = false;
  for (const one of callbacks) {
    if (one instanceof PyTorchBackend) continue;
    const { name } = one;
    const form: PythonForm | undefined =
      (one as WithPythonForm).pythonForm?.() ?? (onlyWatches(one) ? { kind: "watches" } : undefined);
    switch (form?.kind) {
      case undefined:
        gaps.push({ name, place: placeOf(one), why: whyNot(one) });
        break;
      case "watches":
        watchers.push(name);
        break;
      case "stopsOnNaN":
        stopsOnNaN = true;
        break;
      case "average":
        averages.push({ ...form, decay: form.decay === undefined ? null : py.float(form.decay) });
        break;
      case "schedules":
        if (form.own.length > 0)
          gaps.push({
            name,
            place: "stepBegin",
            why: `it sets ${form.own.join(", ")}, hyperparameters of the program's own: the script has the values of now`,
          });
        if (length !== undefined) schedules.push(...form.scheduled(length.steps, length.stepsPerEpoch).map(onWire));
        else gaps.push({ name, place: "stepBegin", why: "the number of steps is not known" });
    }
  }
  return { callbacks: gaps, watchers, averages, schedules, stops_on_nan: stopsOnNaN };
}

/** Whether the training is the same without it, by what it declares. */
function onlyWatches({ access, on, around }: Callback): boolean {
  const isIdle = Object.keys(on).length === 0 && around === undefined;
  return isIdle && access.control === undefined && !Object.values(access).includes("write");
}

const EVENTS = ["epochBegin", "stepBegin", "lossBegin", "backwardBegin", "backwardEnd", "stepEnd"];
/** The loss is there at "backwardBegin", and the outputs right before. */
const PLACES: { readonly [event: string]: string } = { lossBegin: "backwardBegin" };

/** The event at whose place the script says that the callback is missing. */
function placeOf({ on, phase }: Callback): string {
  const isForTraining =
    phase === undefined || phase === AbstractTrainingPhase || phase.prototype instanceof AbstractTrainingPhase;
  const event = EVENTS.find((each) => each in on);
  return event === undefined || !isForTraining ? "epochEnd" : (PLACES[event] ?? event);
}

function whyNot({ access, on }: Callback): string {
  const events = Object.keys(on);
  const where = events.length === 0 ? "" : ` at ${events.join(", ")}`;
  const writes = Object.entries(access).flatMap(([part, mode]) =>
    mode === "write" || (typeof mode === "object" && JSON.stringify(mode).includes('"write"')) ? [part] : [],
  );
  const others = writes.filter((part) => part !== "control" && part !== "state");
  if (others.length > 0) return `it is TypeScript, and writes ${others.join(", ")}${where}`;
  if (writes.includes("control")) return "it is TypeScript, and may end the fit early: the script runs all epochs";
  return `it is TypeScript, and acts${where}`;
}

/** A schedule as the helper gets it, with the arguments of `hyper.assign`. */
function onWire({ name, group, how, values, told }: ScheduledValues): object {
  const [key, index] = name.split(".") as [string, string?];
  const floats = Object.entries(told?.floats ?? {}).map(([argument, value]) => [argument, py.float(value)] as const);
  return {
    label: name,
    key: snakeCase(key),
    index: index === undefined ? null : Number(index),
    group: group ?? null,
    how,
    values: Float64Array.from(values),
    told: told === undefined ? null : { name: told.name, values: { ...told.ints, ...Object.fromEntries(floats) } },
  };
}
