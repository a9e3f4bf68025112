import { join } from "node:path";
import { valuesOf, type LoggerBackend, type LogRecord } from "./backend.ts";
import { fileOf, madeFolder } from "./folder.ts";
import { RecordFile } from "./record-file.ts";

/**
 * `log.csv` in `folder`: a row for each value, `time,tag,at,value`, the tag being `Step/training/Metrics/loss` or the like. Images, sounds and files lie
 * in `files/`, and the value is their path. It keeps no histograms. A file that is there is gone on with.
 */
export const csv = (folder: string): LoggerBackend => new Csv(folder);

const HEADER = "time,tag,at,value\r\n";

class Csv implements LoggerBackend {
  readonly name = "csv";
  readonly keeps = ["value", "text", "image", "audio", "file"] as const;
  readonly #folder: string;
  readonly #file: RecordFile;

  constructor(folder: string) {
    this.#folder = madeFolder("csv", folder);
    this.#file = new RecordFile(join(folder, "log.csv"), { isText: true });
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

/** By RFC 4180. */
const quoted = (cell: string): string => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
