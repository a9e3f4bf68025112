/** Holds a run that was disturbed against the one that was not. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { updatesAt, type Kind } from "./kinds.ts";
import type { Outcome, Undisturbed } from "./program.ts";

/** A run and all that it has left behind. */
export interface Left {
  readonly outcome: Outcome;
  readonly logs: readonly string[];
  readonly updates: readonly Stretch[];
}

/** The updates of one program. */
interface Stretch {
  /** Steps of the checkpoint that it went on from. */
  readonly from: number;
  readonly updates: readonly string[];
}

/** What is in the folder and in the notes of a run. */
export function leftBy(outcome: Outcome, folder: string, notes: string): Left {
  return { outcome, logs: logLines(join(folder, "logs")), updates: stretches(join(notes, "updates")) };
}

/** The lines of all logs without their times. */
function logLines(folder: string): string[] {
  const lines = (name: string): string[] => readFileSync(join(folder, name), "utf8").split(/\r?\n/);
  const json = lines("log.jsonl").map((line) => line.replace(/"time":"[^"]*"/, ""));
  const csv = lines("log.csv").map((line) => line.replace(/^[^,]*,/, ""));
  const events = readdirSync(folder)
    .filter((name) => name.includes("tfevents"))
    .toSorted()
    .flatMap((name) => eventsIn(readFileSync(join(folder, name))));
  return [
    ...json.map((line) => `log.jsonl: ${line}`),
    ...csv.map((line) => `log.csv: ${line}`),
    ...events.map((event) => `tfevents: ${event}`),
  ];
}

/** The events of a file of TensorBoard without their times. Versions, sessions and hyperparameters are of a program. */
function eventsIn(file: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    const event = file.subarray(at + 12, at + 12 + length);
    at += 16 + length;
    // A time is a tag and eight bytes, and comes first.
    const rest = event.subarray(event[0] === 0x09 ? 9 : 0).toString("latin1");
    if (/Step|Epoch/.test(rest) && !rest.includes("_hparams_")) found.push(rest);
  }
  return found;
}

function stretches(path: string): Stretch[] {
  const parts = readFileSync(path, "utf8").split("begin\n").slice(1);
  return parts.map((part) => {
    const lines = part.split("\n").slice(0, -1);
    const from = Number(/^from (\d+)$/.exec(lines[0] ?? "")?.[1] ?? 0);
    return { from, updates: lines.filter((line) => !line.startsWith("from ")) };
  });
}

/** The first things that differ; none where the run ended as the one that was left alone. */
export function differences(kind: Kind, run: Left, whole: Left, cold: Undisturbed["cold"]): string[] {
  const found = outcomeDifferences(run.outcome, whole.outcome);
  const line = run.logs.findIndex((one, i) => one !== whole.logs[i]);
  if (line >= 0 || run.logs.length !== whole.logs.length)
    found.push(
      `the logs have ${run.logs.length} lines for ${whole.logs.length}; the first that differs: ${run.logs.at(line)} for ${whole.logs.at(line)}`,
    );
  for (const stretch of run.updates) found.push(...updateDifferences(kind, stretch, whole.updates[0]!.updates, cold));
  return found;
}

export function outcomeDifferences(run: Outcome, whole: Outcome): string[] {
  const keys = ["weights", "optimizer", "state", "report"] as const;
  return keys.filter((key) => JSON.stringify(run[key]) !== JSON.stringify(whole[key])).map((key) => `the ${key}`);
}

/** Each update after a resume is that of the undisturbed run; the first two are not those of a cold start from there. */
function updateDifferences(
  kind: Kind,
  { from, updates }: Stretch,
  whole: readonly string[],
  cold: Undisturbed["cold"],
): string[] {
  const done = updatesAt(from, kind);
  const found = updates.flatMap((hash, i) =>
    hash === whole[done + i] ? [] : [`update ${done + i + 1}, the ${i + 1}. after the resume at step ${from}`],
  );
  if (from === 0) return found.slice(0, 2);
  const asCold = updates.slice(0, 2).filter((hash, i) => hash === cold[from]?.[i] || hash === whole[i]);
  if (cold[from] === undefined) found.push(`there is no cold start from step ${from}`);
  if (asCold.length > 0) found.push(`the resume at step ${from} is a cold start`);
  return found.slice(0, 2);
}
