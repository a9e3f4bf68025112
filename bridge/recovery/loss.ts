/** Tells from an error whether a worker was lost, and at which step. */
import { TorchwireError } from "../errors/errors.ts";
import { isError } from "../runtime/kinds.ts";

/** The error, and all that have led to it. */
export function chainOf(error: unknown, seen: Set<unknown> = new Set()): Set<unknown> {
  if (!isError(error) || seen.has(error)) return seen;
  seen.add(error);
  const { cause, errors, error: inner, suppressed } = error as Partial<AggregateError & SuppressedError>;
  for (const next of [cause, inner, suppressed, ...(Array.isArray(errors) ? (errors as unknown[]) : [])])
    chainOf(next, seen);
  return seen;
}

/** The first error in the chain of `error` that says that a worker is gone. */
export const lossIn = (error: unknown): TorchwireError | undefined =>
  [...chainOf(error)].find((one): one is TorchwireError => one instanceof TorchwireError && one.code === "WORKER_GONE");

/** The step of a loop in which `loss` came, where it came in one: the errors of loops name it. */
export function stepOf(loss: TorchwireError): string | undefined {
  const { phase, epoch, step } = loss as {
    readonly phase?: unknown;
    readonly epoch?: unknown;
    readonly step?: unknown;
  };
  return typeof step === "number" ? `${String(phase)}, ${String(epoch)}, ${step}` : undefined;
}

/** The first sentence-like line of an error's message, without the last output of a process. It has no full stop. */
export const firstLine = ({ message }: Error): string =>
  message
    .split("\n")[0]!
    .replace(/ It last wrote:$/, "")
    .replace(/\.$/, "");
