import { messageOf } from "../runtime/kinds.ts";
/** One thing that the doctor looks at. */

export interface Finding {
  /** "warning": it works, or may work, and could be better. "skipped": something that it needs has failed. */
  status: "ok" | "warning" | "failed" | "skipped";
  /** The finding: versions and paths, or what is wrong. */
  detail: string;
  /** The one command that mends it. */
  command?: string | undefined;
}

/** Names are stable: programs read them. */
export interface Check extends Finding {
  name: string;
}

export const ok = (detail: string): Finding => ({ status: "ok", detail });
export const skipped = (detail: string): Finding => ({ status: "skipped", detail });
export const warning = (detail: string, command?: string): Finding => ({ status: "warning", detail, command });
export const failed = (detail: string, command?: string): Finding => ({ status: "failed", detail, command });

export function firstLineOf(error: unknown): string {
  return messageOf(error).split("\n", 1)[0] ?? "";
}
