/** Reads values without a type: JSON that another process or an earlier run wrote, and thrown values. */
import { isError } from "../runtime/kinds.ts";

/** The object that a text holds as JSON, undefined where it holds none. */
export function parseRecord(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The system's name of a fault, such as `ENOENT`. */
export function codeOf(error: unknown): string {
  return isError(error) && "code" in error ? String(error.code) : "";
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
