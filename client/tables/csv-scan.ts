/**
 * Cuts a CSV file into records and a record into cells, by RFC 4180 as Python's csv module reads it with `strict`: a
 * quote opens a quoted cell only where the cell begins, and two quotes inside stand for one. Lines end with \n, \r\n or
 * \r.
 */
import { badFile, type Bytes, pagesOf } from "./bytes.ts";

/** A record is no longer than this, in bytes. A quote without an end would take the whole file into memory. */
const LONGEST = 64 * 2 ** 20;

const [LF, CR, QUOTE] = [10, 13, 34] as const;

export interface CsvRecord {
  /** The position of its first byte in the file. */
  readonly start: number;
  /** Its first line, from 1. */
  readonly line: number;
  readonly bytes: Uint8Array;
}

/** Whether `sign` can part cells. */
export const isDelimiter = (sign: string): boolean =>
  sign.length === 1 && sign.charCodeAt(0) < 128 && !/[\r\n"]/.test(sign);

/** The records of a file, in order. Empty lines are none. Throws BAD_DATA where a quoted cell has no end. */
export async function* records(bytes: Bytes, delimiter: string): AsyncGenerator<CsvRecord, void, undefined> {
  const comma = delimiter.charCodeAt(0);
  /** Bytes of this record in earlier pages. */
  let before: Uint8Array[] = [];
  let held = 0;
  let line = 1;
  let startLine = 1;
  let quoteLine = 1;
  let state: State = CELL;
  let lastCR = false;

  for await (const { start: at, page } of pagesOf(bytes)) {
    const first = at === 0 ? afterMark(bytes.path, page) : 0;
    let from = first;
    for (let i = first; i < page.length; i++) {
      const byte = page[i]!;
      const wasCR = lastCR;
      lastCR = byte === CR;
      if (byte === LF || byte === CR) {
        // The \n of a \r\n: the line has been counted, and outside of quotes the record has ended.
        const second = byte === LF && wasCR;
        if (!second) line++;
        if (state === QUOTED) continue;
        if (second) {
          from = i + 1;
          continue;
        }
        const whole = joined(before, page.subarray(from, i));
        if (whole.length > 0) yield { start: at + i - whole.length, line: startLine, bytes: whole };
        [before, held, from, startLine, state] = [[], 0, i + 1, line, CELL];
      } else if (byte === QUOTE) {
        if (state === CELL) [state, quoteLine] = [QUOTED, line];
        else if (state === QUOTED) state = AFTER_QUOTE;
        else if (state === AFTER_QUOTE) state = QUOTED;
      } else if (byte === comma) {
        if (state !== QUOTED) state = CELL;
      } else if (byte === 0) {
        throw badFile(`${bytes.path}:${line}`, "a zero byte; text in UTF-16 must be saved as UTF-8 first");
      } else if (state === CELL || state === AFTER_QUOTE) state = PLAIN;
    }
    if (from < page.length) {
      before.push(page.slice(from));
      held += page.length - from;
    }
    if (held > LONGEST) break;
  }
  if (state === QUOTED || held > LONGEST)
    throw badFile(
      `${bytes.path}:${state === QUOTED ? quoteLine : startLine}`,
      state === QUOTED ? "the quote that begins a cell here has no end" : `a line of more than ${LONGEST} bytes`,
    );
  const whole = joined(before, new Uint8Array(0));
  if (whole.length > 0) yield { start: bytes.size - whole.length, line: startLine, bytes: whole };
}

/** At the beginning of a cell; in one without quotes; in a quoted one; after a quote inside of that. */
const [CELL, PLAIN, QUOTED, AFTER_QUOTE] = [0, 1, 2, 3] as const;
type State = typeof CELL | typeof PLAIN | typeof QUOTED | typeof AFTER_QUOTE;

const joined = (before: readonly Uint8Array[], last: Uint8Array): Uint8Array =>
  before.length === 0 ? last : Buffer.concat([...before, last]);

/** The length of a byte order mark. Throws BAD_DATA for that of UTF-16. */
export function afterMark(path: string, page: Uint8Array): number {
  const [a, b, c] = page;
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff))
    throw badFile(path, "it is text in UTF-16; save it as UTF-8 first");
  return a === 0xef && b === 0xbb && c === 0xbf ? 3 : 0;
}

/** The cells of one record, without quotes; or a sentence that says what is wrong with it. */
export function cellsOf(text: string, delimiter: string): string[] | string {
  if (!text.includes('"')) return text.split(delimiter);
  const cells: string[] = [];
  for (let at = 0; ;) {
    if (text[at] === '"') {
      let cell = "";
      for (at++; ; at += 2) {
        const end = text.indexOf('"', at);
        if (end < 0) return "the quote that begins a cell has no end";
        cell += text.slice(at, end);
        at = end;
        if (text[at + 1] !== '"') break;
        cell += '"';
      }
      at++;
      if (at < text.length && text[at] !== delimiter)
        return `after the quote that ends a cell comes ${JSON.stringify(text.slice(at, at + 10))}; a quote inside of a quoted cell is written twice`;
      cells.push(cell);
    } else {
      const end = text.indexOf(delimiter, at);
      cells.push(text.slice(at, end < 0 ? text.length : end));
      at = end < 0 ? text.length : end;
    }
    if (at >= text.length) return cells;
    at++;
    if (at === text.length) return [...cells, ""];
  }
}
