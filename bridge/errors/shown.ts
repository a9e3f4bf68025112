/**
 * Text from outside, made fit for messages: names in files, names of files, the words of Python, pip or another
 * machine. A control character is a command to a terminal, so it is written as an escape; and a long text is cut.
 */

/** C0, DEL and C1; marks that reorder or break a line; half a surrogate pair. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;
const NAMED: Readonly<Record<string, string>> = { "\n": "\\n", "\t": "\\t", "\r": "\\r" };

function escaped(sign: string): string {
  const code = sign.charCodeAt(0);
  const hex = code.toString(16);
  return NAMED[sign] ?? (code < 0x100 ? `\\x${hex.padStart(2, "0")}` : `\\u${hex.padStart(4, "0")}`);
}

/** `text` with its control characters as escapes. Newlines and tabs stay. */
export const printable = (text: string): string =>
  text
    .replaceAll("\r\n", "\n")
    .replaceAll(UNPRINTABLE, (sign) => (sign === "\n" || sign === "\t" ? sign : escaped(sign)));

/** A name from outside is no longer than this in a message, in UTF-16 units. */
const LONGEST = 200;

/**
 * `text` on one line: all control characters as escapes, and at most `most` units. Where it was cut, its length
 * follows.
 */
export function oneLine(text: string, most: number = LONGEST): string {
  const start = text.length > most ? text.slice(0, most) : text;
  const line = start.replaceAll(UNPRINTABLE, escaped);
  return start === text ? line : `${line}… (${text.length} characters)`;
}

/** `oneLine` between quotation marks. Quotation marks inside are escaped. */
export function quoted(text: string, most: number = LONGEST): string {
  const start = text.length > most ? text.slice(0, most) : text;
  const line = start.replaceAll(/["\\]/g, "\\$&").replaceAll(UNPRINTABLE, escaped);
  return start === text ? `"${line}"` : `"${line}…" (${text.length} characters)`;
}

/** A value from a file, as JSON on one line, cut. Only the part that is shown is looked at. */
export function shownValue(value: unknown, most: number = LONGEST): string {
  if (typeof value === "string") return quoted(value, most);
  if (typeof value !== "object" || value === null) return String(value);
  if (!Array.isArray(value)) return "an object";
  const parts: string[] = [];
  let length = 0;
  for (const item of value as unknown[]) {
    if (length > most || parts.length >= 20) return `[${parts.join(",")},…] (${value.length} items)`;
    const part = Array.isArray(item) ? "a list" : shownValue(item, most);
    length += part.length;
    parts.push(part);
  }
  return `[${parts.join(",")}]`;
}
