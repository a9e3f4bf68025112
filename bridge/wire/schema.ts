/**
 * The form of each message that a worker sends. Every message is checked against its form before any of it is believed;
 * the worker does the same with a client's messages. Fields that a form does not name are passed over.
 */
import { TorchwireError } from "../errors/errors.ts";
import type { PythonException, PythonFrame } from "../errors/python-exception.ts";
import { isPlainObject } from "../runtime/kinds.ts";
import { Tag } from "./codes.ts";

type Check<T> = (value: unknown, path: string) => T;
type Form<T> = { readonly [K in keyof T]-?: Check<T[K]> };

/** Refuses a message of the worker's. */
export function malformed(why: string): never {
  throw new TorchwireError("PROTOCOL", `the worker sent a malformed message: ${why}`);
}

const refuse = (path: string, value: unknown, is: string): never => malformed(`${path} is ${kindOf(value)}, not ${is}`);

function kindOf(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null || typeof value === "number" || typeof value === "boolean") return String(value);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === "object" ? "a map" : `a ${typeof value}`;
}

const text: Check<string> = (value, path) => (typeof value === "string" ? value : refuse(path, value, "text"));

const number: Check<number> = (value, path) =>
  typeof value === "number" && Number.isFinite(value) ? value : refuse(path, value, "a number");

export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const count: Check<number> = (value, path) => (isCount(value) ? value : refuse(path, value, "a count"));

const integer: Check<number> = (value, path) =>
  Number.isSafeInteger(value) ? (value as number) : refuse(path, value, "a whole number");

const orNull =
  <T>(check: Check<T>): Check<T | null> =>
  (value, path) =>
    value === null ? null : check(value, path);

const orNone =
  <T>(check: Check<T>): Check<T | undefined> =>
  (value, path) =>
    value === undefined ? undefined : check(value, path);

function list<T>(check: Check<T>): Check<readonly T[]> {
  return (value, path) =>
    Array.isArray(value) ? value.map((item, i) => check(item, `${path}[${i}]`)) : refuse(path, value, "a list");
}

function map<T>(check: Check<T>): Check<Readonly<Record<string, T>>> {
  return (value, path) =>
    isPlainObject(value)
      ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, check(item, `${path}.${key}`)]))
      : refuse(path, value, "a map");
}

function record<T extends object>(form: Form<T>): Check<T> {
  const fields = Object.entries<Check<unknown>>(form);
  return (value, path) => {
    if (!isPlainObject(value)) return refuse(path, value, "a map");
    const read: Record<string, unknown> = {};
    for (const [name, check] of fields) {
      const found = check(Object.hasOwn(value, name) ? value[name] : undefined, `${path}.${name}`);
      if (found !== undefined) read[name] = found;
    }
    return read as T;
  };
}

/** Causes, and members of groups, lie no deeper in each other than this. (The worker sends fewer.) */
const DEEPEST = 32;

function exceptionForm(depth: number): Form<PythonException> {
  const within: Check<PythonException> = (value, path) =>
    depth === 0 ? malformed(`${path} does not end`) : record(exceptionForm(depth - 1))(value, path);
  return {
    type: text,
    mro: list(text),
    message: text,
    frames: list(record<PythonFrame>({ file: text, line: count, name: text, source: text })),
    notes: list(text),
    cause: orNull(within),
    errors: orNone(list(within)),
    thrown: orNone(integer),
    original: () => undefined,
  };
}

/** A failed operation: the first id that has no value, and the last one of that operation. */
export type WireFailure = PythonException & { readonly operation: string; readonly id: number; readonly last: number };

const failure = record<WireFailure>({ ...exceptionForm(DEEPEST), operation: text, id: count, last: count });

/** A warning of Python's, with the operation that ran when it was raised. The id is 0 where none ran. */
export interface RaisedWarning {
  readonly id: number;
  readonly category: string;
  readonly message: string;
  readonly operation: string;
}

/** The warnings in a reply, and the number of those that it leaves out. */
export interface WireWarnings {
  readonly told: readonly RaisedWarning[];
  readonly left: number;
}

const warnings = record<WireWarnings>({
  told: list(record<RaisedWarning>({ id: count, category: text, message: text, operation: text })),
  left: count,
});

/** The answer to one batch: values by their ids, the failure if an operation failed, and warnings if there were any. */
export interface WireReply {
  readonly seq: number;
  readonly values: ReadonlyMap<number, unknown>;
  readonly failure: WireFailure | null;
  readonly warnings: WireWarnings | undefined;
}

const reply: Check<WireReply> = (value, path) => {
  if (!Array.isArray(value) || value.length < 3 || value.length > 4) return refuse(path, value, "a list of 3 or 4");
  const [seq, flat, failed, warned] = value as unknown[];
  if (!Array.isArray(flat) || flat.length % 2 !== 0)
    return refuse(`${path}.values`, flat, "a list of ids and their values");
  const values = new Map<number, unknown>();
  for (let i = 0; i < flat.length; i += 2) {
    const id: unknown = flat[i];
    if (!isCount(id)) return refuse(`${path}.values[${i}]`, id, "an id");
    if (values.has(id)) malformed(`${path} has two values of #${id}`);
    values.set(id, flat[i + 1]);
  }
  if (!isCount(seq)) return refuse(`${path}.seq`, seq, "a count");
  return {
    seq,
    values,
    failure: failed === null ? null : failure(failed, `${path}.failure`),
    warnings: warned === undefined ? undefined : warnings(warned, `${path}.warnings`),
  };
};

/** Replies, and the ids of the functions that Python has freed. */
export interface WireReplies {
  readonly replies: readonly WireReply[];
  readonly freed: readonly number[] | undefined;
}

const replies = record<WireReplies>({ replies: list(reply), freed: orNone(list(count)) });

export function readReplies(meta: unknown): WireReplies {
  const read = replies(meta, "reply");
  return read.replies.length > 0 ? read : malformed("a reply to no batch");
}

/** A call of a function of the program. */
export interface WireCall {
  readonly function: number;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  /** The call whose function has led to this one, on the same thread; 0 where there is none. */
  readonly within: number;
  /** The worker's main thread waits for it. */
  readonly holds: boolean;
}

const argument: Check<unknown> = (value, path) =>
  Array.isArray(value) && value[0] === Tag.reference && (value.length !== 2 || typeof value[1] !== "string")
    ? refuse(path, value, "a reference with its type")
    : value;

const call = record<WireCall>({
  function: count,
  args: list(argument),
  kwargs: (value, path) => (value === undefined ? {} : map(argument)(value, path)),
  within: (value, path) => (value === undefined ? 0 : count(value, path)),
  holds: (value, path) => value === true || (value === undefined ? false : refuse(path, value, "true")),
});

export const readCall = (meta: unknown): WireCall => call(meta, "call");

/** The first answer on a data connection. */
export interface WireWelcome {
  readonly pid: number;
  readonly device: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly limits: Readonly<Record<string, number>>;
  /** The worker drops a client that is away for longer than so many seconds; null where it ends with its client. */
  readonly grace: number | null;
  /** The last message of the client's that the worker has. */
  readonly received: number;
  /** Names this worker process; the control connection has the same. Undefined for a worker of an earlier version. */
  readonly worker?: string;
}

const welcome = record<WireWelcome>({
  pid: count,
  device: text,
  versions: map(text),
  limits: map((value, path) => (isCount(value) && value > 0 ? value : refuse(path, value, "a limit"))),
  grace: orNull(number),
  received: count,
  worker: orNone(text),
});

export const readWelcome = (meta: unknown): WireWelcome => welcome(meta, "welcome");

const controlWelcome = record<Pick<WireWelcome, "worker">>({ worker: orNone(text) });

/** The first answer on a control connection. */
export const readControlWelcome = (meta: unknown): Pick<WireWelcome, "worker"> => controlWelcome(meta, "welcome");

/** A worker's report on itself. */
export interface Pong {
  /** Seconds in the present batch; null when idle. */
  readonly busy: number | null;
  /** The number of batches that it has run. */
  readonly batches: number;
  /** The number of Python objects that references keep. */
  readonly objects: number;
  /** Resident memory of the worker, in bytes. */
  readonly rss: number;
  /**
   * With `deterministic: "warn"`: the operations that PyTorch has run without a deterministic implementation, by its
   * own names.
   */
  readonly nondeterministic: readonly string[];
  /** Copies to and from a GPU. Undefined for a worker of an earlier version. */
  readonly copies?: DeviceCopies;
}

/** Counts of a worker's copies to and from a GPU. */
export interface DeviceCopies {
  /** Tensors of the program's that went there by pinned memory, and their bytes. */
  readonly staged: number;
  readonly stagedBytes: number;
  /** Tensors of replies that came from there while Python went on. */
  readonly late: number;
  /** How often Python waited for such a copy: a reply had to leave, or all pinned memory was in use. */
  readonly waits: number;
}

const copies = record<DeviceCopies>({ staged: count, stagedBytes: count, late: count, waits: count });

const pong = record<Pong>({
  busy: orNull(number),
  batches: count,
  objects: count,
  rss: count,
  nondeterministic: list(text),
  copies: orNone(copies),
});

export const readPong = (meta: unknown): Pong => pong(meta, "pong");

/** A warning that was raised outside of operations, after the last reply. */
export interface WireWarning {
  readonly category: string;
  readonly message: string;
}

export type WireLog =
  /** A line that Python code has written. */
  | { readonly stream: string; readonly line: string }
  | WireWarning
  /** A record of Python's logging. */
  | { readonly level: number; readonly logger: string; readonly message: string };

const line = record<{ stream: string; line: string }>({ stream: text, line: text });
const warning = record<WireWarning>({ category: text, message: text });
const logged = record<{ level: number; logger: string; message: string }>({
  level: number,
  logger: text,
  message: text,
});

export function readLog(meta: Readonly<Record<string, unknown>>): WireLog {
  if (Object.hasOwn(meta, "stream")) return line(meta, "log");
  return Object.hasOwn(meta, "category") ? warning(meta, "log") : logged(meta, "log");
}

export interface WireFatal {
  readonly message: string;
  readonly code: string | undefined;
  readonly holder: Readonly<Record<string, string>> | undefined;
}

const fatalForm = record<WireFatal>({ message: text, code: orNone(text), holder: orNone(map(text)) });

export const readFatal = (meta: unknown): WireFatal => fatalForm(meta, "fatal");
