/** `value` on one line. Numbers that JSON lacks are "NaN", "Infinity" and "-Infinity". */
export const jsonLine = (value: object): string => `${JSON.stringify(value, plain)}\n`;

/** For JSON.stringify. */
export const plain = (_key: string, value: unknown): unknown =>
  typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value)) ? String(value) : value;
