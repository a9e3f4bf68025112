/** A worker's refusal, by which it ends a session or lets none begin. */
import { BusyError, TorchwireError, type ErrorCode } from "../errors/errors.ts";
import type { Incoming } from "../wire/meta.ts";
import { readFatal } from "../wire/schema.ts";

const REFUSALS: readonly string[] = ["BUSY", "NO_DEVICE", "WORKER_GONE", "REFUSED", "PROTOCOL"] satisfies ErrorCode[];

/**
 * The error for a worker's refusal. Its code is one of ours, or PROTOCOL where the worker has not understood a message.
 */
export function fatal({ meta }: Incoming): TorchwireError {
  const { code, message, holder } = readFatal(meta);
  if (code === "BUSY") return new BusyError(message, holder);
  if (code !== undefined && REFUSALS.includes(code)) return new TorchwireError(code as ErrorCode, message);
  return new TorchwireError("PROTOCOL", `the worker refused a message: ${message}`);
}
