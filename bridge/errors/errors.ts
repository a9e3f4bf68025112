/** The errors that torchwire throws. `code` is stable; `message` says what went wrong, where, and what to do next. */
import { isError } from "../runtime/kinds.ts";
import { printable } from "./shown.ts";

export type ErrorCode =
  /** A Python operation raised. */
  | "PYTHON"
  /** An operation was not run, because an earlier one in its lane failed. */
  | "NOT_RUN"
  /** A reference was used after it was released, or its value was never made. */
  | "NO_VALUE"
  /** A value cannot be sent to Python; `message` holds the path to it. */
  | "NOT_SENDABLE"
  /** A construct that a reference does not support, with the one that does what was meant. */
  | "MISUSE"
  /** The worker process ended, or it has dropped this session. */
  | "WORKER_GONE"
  /** The run leaves its worker for another place, where `withWorker` runs its body again. */
  | "MOVED"
  /** Nobody answers at the address of a remote worker. */
  | "UNREACHABLE"
  /** A remote worker does not let this client in, or is not the one that the profile knows. */
  | "REFUSED"
  /** The worker was closed by this program. */
  | "CLOSED"
  /** More is in flight than the worker can be given without waiting. */
  | "TOO_FAR_AHEAD"
  /** A limit of the wire was exceeded. */
  | "LIMIT"
  /** The two sides do not understand each other. */
  | "PROTOCOL"
  /** No usable Python interpreter, or one that lacks something. */
  | "ENVIRONMENT"
  /** The device asked for is not there. */
  | "NO_DEVICE"
  /** A data file or data set is not what it says it is. */
  | "BAD_DATA"
  /** Something cannot be saved: the disk refuses it, or no file of that format can hold it. */
  | "NOT_SAVED"
  /** Another loop, or another client, has the worker. */
  | "BUSY"
  /** A handler of a callback threw. */
  | "CALLBACK"
  /** A step of a loop failed. */
  | "STEP";

export class TorchwireError extends Error {
  readonly code: ErrorCode;
  override name = "TorchwireError";

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    // It may hold names and sentences from outside.
    super(printable(message), options);
    this.code = code;
  }
}

/** Another client has the worker. */
export class BusyError extends TorchwireError {
  /** How it describes itself, where it has the same key as this one. */
  readonly holder: Readonly<Record<string, unknown>> | undefined;

  constructor(message: string, holder: Readonly<Record<string, unknown>> | undefined) {
    super("BUSY", message);
    this.holder = holder;
  }
}

export const asError = (error: unknown): Error => (isError(error) ? error : new Error(String(error)));

/** There is no usable Python. `command` is the line that mends it, where there is one. */
export class EnvironmentError extends TorchwireError {
  override name = "EnvironmentError";
  readonly command: string | undefined;

  constructor(message: string, options: { command?: string; cause?: unknown } = {}) {
    super("ENVIRONMENT", options.command === undefined ? message : `${message}\nRun: ${options.command}`, options);
    this.command = options.command;
  }
}
