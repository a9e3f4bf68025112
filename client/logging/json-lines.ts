import { join } from "node:path";
import { valuesOf, type LoggerBackend, type LogRecord, type RunHyperparameters } from "./backend.ts";
import type { KeptState } from "../callback/callback.ts";
import { fileOf, madeFolder } from "./folder.ts";
import { jsonLine } from "./json.ts";
import type { Loggable } from "./loggables.ts";
import { RecordFile } from "./record-file.ts";
import type { Ending } from "../training/report.ts";

/**
 * Writes `log.jsonl` in `folder`: a line of JSON, `{ time, group, at, values }`, for each record. A number is a number,
 * or "NaN", "Infinity" and "-Infinity", which JSON lacks. Text is a string. Images, sounds and files lie in `files/`,
 * and the line has their paths. It appends to an existing file.
 */
export const jsonLines = (folder: string): LoggerBackend => new JsonLines(folder);

class JsonLines implements LoggerBackend {
  readonly name = "jsonLines";
  readonly keeps = ["value", "text", "image", "audio", "histogram", "file"] as const;
  readonly state: KeptState;
  readonly #folder: string;
  readonly #file: RecordFile;

  constructor(folder: string) {
    this.#folder = madeFolder("jsonLines", folder);
    this.#file = new RecordFile(join(folder, "log.jsonl"), { isText: true });
    this.state = this.#file.state;
  }

  log(record: LogRecord): void {
    const { group, at } = record;
    const values = valuesOf(this, record).map(([name, value]) => [
      name,
      this.#shown([...group, name].join("/"), at, value),
    ]);
    this.#write({ group, at, values: Object.fromEntries(values) });
  }

  begin(hyperparameters: RunHyperparameters): void {
    this.#write({ hyperparameters });
  }

  end({ status, reason, by }: Ending): void {
    this.#write({ ending: { status, reason, by } });
  }

  close(): void {
    this.#file.close();
  }

  #write(what: object): void {
    this.#file.write(jsonLine({ time: new Date().toISOString(), ...what }));
  }

  #shown(tag: string, at: number, loggable: Loggable): unknown {
    if (loggable.kind === "value") return loggable.value;
    if (loggable.kind === "text") return loggable.text;
    if (loggable.kind === "histogram") {
      const { kind: _, ...bins } = loggable;
      return { histogram: bins };
    }
    return { [loggable.kind]: fileOf(this.#folder, tag, at, loggable) };
  }
}
