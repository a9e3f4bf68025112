const UNITS: { readonly [unit: string]: number } = { ms: 1, s: 1000, min: 60_000, h: 3_600_000 };

/** The milliseconds of a text such as "30s", "5min" or "1.5h"; undefined for anything else. */
export function millisecondsOf(time: unknown): number | undefined {
  const [, amount, unit] = (typeof time === "string" && /^(\d+(?:\.\d+)?)\s*(ms|s|min|h)$/.exec(time)) || [];
  return unit === undefined ? undefined : Number(amount) * UNITS[unit]!;
}
