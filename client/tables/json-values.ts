/** JSON as Python writes it: whole numbers of any size, and NaN and Infinity. */

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Strings, so that what stands inside of them is left alone, and numbers. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|NaN|-?Infinity|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/gs;
const WHOLE = /^-?\d+$/;

/**
 * The value of a JSON text. Whole numbers past 2^53, which JSON.parse rounds, are bigints. NaN and Infinity, which it
 * refuses, are numbers. Throws JSON.parse's error for what is no JSON, and a TypeError for what is not UTF-8.
 */
export function parseJson(bytes: Uint8Array): unknown {
  const text = decoder.decode(bytes);
  if (!/\d{16}|NaN|Infinity/.test(text)) return JSON.parse(text) as unknown;
  // A mark is a string, which may stand where a number may not: the form is checked without marks.
  const plain = text.replaceAll(TOKEN, (token) => (isSpecial(token) ? "0" : token));
  const parsed: unknown = JSON.parse(plain);
  if (plain === text) return parsed;

  const mark = markFor(JSON.stringify(parsed));
  const marked = text.replaceAll(TOKEN, (token) => (isSpecial(token) ? `"${mark}${token}"` : token));
  return JSON.parse(marked, (_, value: unknown) => {
    if (typeof value !== "string" || !value.startsWith(mark)) return value;
    const token = value.slice(mark.length);
    return WHOLE.test(token) ? BigInt(token) : Number(token);
  }) as unknown;
}

const isSpecial = (token: string): boolean =>
  WHOLE.test(token) ? token.length > 15 && !Number.isSafeInteger(Number(token)) : /^(?:NaN|-?Infinity)$/.test(token);

/** A beginning that no string in `json` has. */
function markFor(json: string): string {
  for (let i = 0; ; i++) if (!json.includes(`number ${i}:`)) return `number ${i}:`;
}
