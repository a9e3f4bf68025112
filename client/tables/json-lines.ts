/** Rows of a file of JSON lines, or of one JSON array. */
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { badFile, type Bytes, digest, folderOf, openBytes, pagesOf, shownPath } from "./bytes.ts";
import { afterMark } from "./csv-scan.ts";
import { parseJson } from "./json-values.ts";
import { lineAt } from "./lines.ts";
import { Offsets } from "./offsets.ts";
import { after, type RowSource } from "./source.ts";

export interface JsonLinesOptions {
  /** How much of the file stays in memory, in bytes. Default: 64 MiB. */
  readonly cacheBytes?: number;
}

const [LF, CR, SPACE, TAB, BRACKET] = [10, 13, 32, 9, 91] as const;
/** The whole of a JSON array must be parsed at once. */
const MOST_ARRAY = 2 ** 28;

/** Finds where each line begins. A line is parsed when its row is asked for. */
export async function jsonRows(path: string, options: JsonLinesOptions = {}): Promise<RowSource<unknown>> {
  const bytes = await openBytes(path, options.cacheBytes ?? 64 * 2 ** 20);
  const starts = new Offsets();
  /** The last byte of the file's last row, and one. */
  let end = 0;
  /** Where this line begins; -1 while it has nothing but spaces. */
  let start = -1;
  for await (const { start: at, page } of pagesOf(bytes)) {
    let i = at === 0 ? afterMark(path, page) : 0;
    while (i < page.length) {
      if (start < 0) {
        const byte = page[i]!;
        if (byte === LF || byte === CR || byte === SPACE || byte === TAB) {
          i++;
          continue;
        }
        if (byte === BRACKET && starts.length === 0) {
          const rows = await arrayOf(bytes, at + i);
          if (rows !== undefined) return rows;
        }
        start = at + i;
        starts.push(start);
      }
      const next = page.indexOf(LF, i);
      i = next < 0 ? page.length : next + 1;
      end = at + i;
      if (next >= 0) start = -1;
    }
  }
  return new JsonRows(bytes, starts, end);
}

class JsonRows implements RowSource<unknown> {
  readonly length: number;
  readonly folder: string;
  readonly #bytes: Bytes;
  readonly #starts: Offsets;
  readonly #end: number;

  constructor(bytes: Bytes, starts: Offsets, end: number) {
    this.length = starts.length;
    this.folder = folderOf(bytes.path);
    this.#bytes = bytes;
    this.#starts = starts;
    this.#end = end;
  }

  get(index: number): unknown {
    const end = index + 1 < this.length ? this.#starts.at(index + 1) : this.#end;
    return after(this.#bytes.read(this.#starts.at(index), end), (bytes) => {
      try {
        return parseJson(bytes);
      } catch (error) {
        return this.place(index).then((place) => {
          throw badFile(place, `it is not a line of JSON: ${messageOf(error)}`, error);
        });
      }
    });
  }

  fingerprint(): string {
    return digest("json", this.#bytes.fingerprint);
  }

  async place(index: number): Promise<string> {
    return `${this.#bytes.path}:${await lineAt(this.#bytes, this.#starts.at(index))}`;
  }
}

/**
 * The rows of a file that is one JSON array; undefined where its first line is a row of its own, as in JSON lines of
 * lists.
 */
async function arrayOf(bytes: Bytes, start: number): Promise<RowSource<unknown> | undefined> {
  const head = Buffer.from(await bytes.read(start, Math.min(bytes.size, start + (1 << 16))));
  const line = head.indexOf(LF);
  const more = head.subarray(line).some((byte) => byte > SPACE) || /\.(?:jsonl|ndjson)(?:\.gz)?$/i.test(bytes.path);
  if (line >= 0 && more && isJson(head.subarray(0, line))) return undefined;
  if (bytes.size > MOST_ARRAY)
    throw badFile(
      bytes.path,
      `it is one JSON array of ${bytes.size} bytes, which must be parsed as a whole; write a line for each row`,
    );
  let rows: unknown;
  try {
    rows = parseJson(await bytes.read(start, bytes.size));
  } catch (error) {
    // A first row of more than that, perhaps.
    if (line < 0) return undefined;
    throw badFile(bytes.path, `it begins as a JSON array, and is none: ${messageOf(error)}`, error);
  }
  const list = rows as readonly unknown[];
  return {
    length: list.length,
    folder: folderOf(bytes.path),
    fingerprint: () => digest("json array", bytes.fingerprint),
    get: (index) => structuredClone(list[index]),
    place: (index) => `${shownPath(bytes.path)}, element ${index}`,
  };
}

function isJson(bytes: Uint8Array): boolean {
  try {
    parseJson(bytes);
    return true;
  } catch {
    return false;
  }
}
