import { join } from "node:path";
import { valuesOf, type LoggerBackend, type LogRecord } from "./backend.ts";
import type { KeptState } from "../callback/callback.ts";
import { fileOf, madeFolder } from "./folder.ts";
import { RecordFile } from "./record-file.ts";

/**
 * Writes `log.csv` in `folder`: a row `time,tag,at,value` for each value, with a tag such as
 * `Step/training/Metrics/loss`. Images, sounds and files lie in `files/`, and the value is their path. It keeps no
 * histograms. It appends to an existing file.
 */
export const csv = (folder: string): LoggerBackend => new Csv(folder);

const HEADER = "time,tag,at,value\r\n";

class Csv implements LoggerBackend {
  readonly name = "csv";
  readonly keeps = ["value", "text", "image", "audio", "file"] as const;
  readonly state: KeptState;
  readonly #folder: string;
  readonly #file: RecordFile;

  constructor(folder: string) {
    this.#folder = madeFolder("csv", folder);
    this.#file = new RecordFile(join(folder, "log.csv"), { isText: true });
    this.state = this.#file.state;
  }

  log(record: LogRecord): void {
    const { group, at } = record;
    const time = new Date().toISOString();
    const rows = valuesOf(this, record).map(([name, value]) => {
      const tag = [...group, name].join("/");
      const cell =
        value.kind === "value"
          ? String(value.value)
          : value.kind === "text"
            ? value.text
            : fileOf(this.#folder, tag, at, value)!;
      return `${[time, tag, String(at), cell].map(quoted).join(",")}\r\n`;
    });
    this.#file.write(rows.join(""), HEADER);
  }

  close(): void {
    this.#file.close();
  }
}

/** Quotes a cell as RFC 4180 says. */
const quoted = (cell: string): string => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
