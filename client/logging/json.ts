/** `value` as JSON on one line. Numbers that JSON lacks become "NaN", "Infinity" and "-Infinity". */
export const jsonLine = (value: object): string => `${JSON.stringify(value, plain)}\n`;

/** A replacer for JSON.stringify. */
export const plain = (_key: string, value: unknown): unknown =>
  typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value)) ? String(value) : value;
