/**
 * Text from outside in messages: names in files, names of files, what Python, pip or another machine says. Whoever reads it may have it on a terminal, where a
 * control character is a command, and none of it is longer than a message can be.
 */

/** C0, DEL and C1; marks that reorder or break a line; half a surrogate pair. A newline and a tab are in the second alone. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;
const NAMED: Readonly<Record<string, string>> = { "\n": "\\n", "\t": "\\t", "\r": "\\r" };

function escaped(sign: string): string {
  const code = sign.charCodeAt(0);
  const hex = code.toString(16);
  return NAMED[sign] ?? (code < 0x100 ? `\\x${hex.padStart(2, "0")}` : `\\u${hex.padStart(4, "0")}`);
}

/** `text` as it may be printed: control characters are written as escapes, but for newlines and tabs. */
export const printable = (text: string): string =>
  text
    .replaceAll("\r\n", "\n")
    .replaceAll(UNPRINTABLE, (sign) => (sign === "\n" || sign === "\t" ? sign : escaped(sign)));

/** The longest that a name from outside is in a message, in UTF-16 units. */
const LONGEST = 200;

/** `text` on one line: every control character as its escape, and at most `most` units of it, with the whole length where it was cut. */
export function oneLine(text: string, most: number = LONGEST): string {
  const start = text.length > most ? text.slice(0, most) : text;
  const line = start.replaceAll(UNPRINTABLE, escaped);
  return start === text ? line : `${line}… (${text.length} characters)`;
}

/** As `oneLine`, between quotation marks, which are escaped within. */
export function quoted(text: string, most: number = LONGEST): string {
  const start = text.length > most ? text.slice(0, most) : text;
  const line = start.replaceAll(/["\\]/g, "\\$&").replaceAll(UNPRINTABLE, escaped);
  return start === text ? `"${line}"` : `"${line}…" (${text.length} characters)`;
}

/** A value out of a file: as JSON has it, on one line, and cut. No more of it is looked at than is shown. */
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
