import { hostname } from "node:os";
import { join } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { Ending } from "../training/report.ts";
import { valuesOf, type RunHyperparameters, type LoggerBackend, type LogRecord } from "./backend.ts";
import { madeFolder } from "./folder.ts";
import type { Loggable } from "./loggables.ts";
import { RecordFile } from "./record-file.ts";
import { event, fileVersion, sessionEnd, sessionStart, summaryValue } from "./tf-events.ts";
import { tfRecord } from "./tf-record.ts";

/**
 * Writes TensorBoard's event files in `folder`, a new file each time it is opened. `tensorboard --logdir` takes that
 * folder, or the one above it to compare runs. A tag is the record's group and name, joined by "/". Numbers are float32
 * there.
 */
export const tensorBoard = (folder: string): LoggerBackend => new TensorBoard(folder);

let opened = 0;

class TensorBoard implements LoggerBackend {
  readonly name = "tensorBoard";
  readonly keeps = ["value", "text", "image", "audio", "histogram"] as const;
  readonly #folder: string;
  #file: RecordFile | undefined;

  constructor(folder: string) {
    this.#folder = madeFolder("tensorBoard", folder);
  }

  log(record: LogRecord): void {
    const { group, at } = record;
    // A part of an epoch counts as that epoch.
    const step = Math.ceil(at);
    if (!Number.isSafeInteger(step) || step < 0)
      throw new TorchwireError(
        "MISUSE",
        `tensorBoard: the index of ${group.join("/")} is ${at}; it must be a number from 0`,
      );
    const values = valuesOf(this, record).map(([name, value]) =>
      summaryValue([...group, name].join("/"), value as Exclude<Loggable, { kind: "file" }>),
    );
    this.#write(now(), step, values);
  }

  begin(hyperparameters: RunHyperparameters): void {
    const time = now();
    this.#write(time, 0, [sessionStart(time, hyperparameters)]);
  }

  end(ending: Ending): void {
    const time = now();
    this.#write(time, 0, [sessionEnd(time, ending)]);
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  #write(time: number, step: number, values: readonly Uint8Array[]): void {
    if (values.length === 0) return;
    if (this.#file === undefined || this.#file.isBroken) {
      // TensorBoard recognises its files by "tfevents", and reads those of a folder in the order of their names.
      const seconds = String(Math.floor(time)).padStart(10, "0");
      const name = `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${opened++}`;
      this.#file = new RecordFile(join(this.#folder, name), { isText: false });
    }
    this.#file.write(tfRecord(event(time, step, values)), tfRecord(fileVersion(time)));
  }
}

/** The time in seconds. */
const now = (): number => Date.now() / 1000;
