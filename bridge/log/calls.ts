/**
 * Runs the functions of the program that Python calls. Each call has a lane and a scope of its own. What its function
 * does is a log of its own, which the worker runs while the call waits; its last operation ends the call.
 */
import { TorchwireError } from "../errors/errors.ts";
import { textOf } from "../errors/stack.ts";
import { inner, type Reference } from "../reference/ref.ts";
import { isError, messageOf } from "../runtime/kinds.ts";
import { Op, Tag } from "../wire/codes.ts";
import type { WireCall } from "../wire/schema.ts";
import type { Ambient, Here } from "./ambient.ts";
import { Call } from "./call.ts";
import type { Functions } from "./functions.ts";
import type { Outbox } from "./outbox.ts";
import { Scope } from "./scope.ts";
import type { Thrown } from "./thrown.ts";

/** In characters. Python only shows the text of an error: the error itself stays here. */
const LONGEST_TEXT = 8192;
/** A message always has room for this share of its limit. */
const SHARE = 32;

export interface CallsOptions {
  readonly ambient: Ambient;
  readonly outbox: Outbox;
  readonly functions: Functions;
  readonly thrown: Thrown;
  /** Makes a reference to what has this id. */
  readonly referTo: (id: number, here: Here) => Reference;
  readonly decode: (token: unknown) => unknown;
}

interface Running {
  readonly call: Call;
  readonly here: Here & { readonly scope: Scope };
}

export class Calls {
  readonly #options: CallsOptions;
  readonly #open = new Map<number, Call>();

  constructor(options: CallsOptions) {
    this.#options = options;
  }

  /** Runs the function that Python has called. It answers in any case, unless the worker is gone. */
  answer(id: number, told: WireCall): void {
    const { functions, ambient } = this.#options;
    const call = new Call(id, this.#open.get(told.within), told.holds);
    const here = { lane: ambient.newLane(call), scope: new Scope(), contexts: [] };
    const running = { call, here };
    this.#open.set(id, call);
    functions.run(told.function, (fn) =>
      ambient.run(here, () => {
        let result: unknown;
        try {
          if (fn === undefined) throw new TorchwireError("MISUSE", "Python called a function that it had let go of");
          result = fn(...this.#argumentsOf(told, running));
          if (inner(result) === undefined && isThenable(result)) {
            Promise.resolve(result).then(
              (value) => this.#return(running, value),
              (error: unknown) => this.#raise(running, error),
            );
            return;
          }
        } catch (error) {
          return this.#raise(running, error);
        }
        this.#return(running, result);
      }),
    );
  }

  #argumentsOf({ args, kwargs }: WireCall, { here }: Running): unknown[] {
    const { outbox, referTo, decode } = this.#options;
    const tokens = [...args, ...Object.values(kwargs)];
    const types = tokens.flatMap((token) => typeOf(token) ?? []);
    let last = 0;
    outbox.force(here, (batch) => {
      if (types.length > 0) last = outbox.append(batch, [Op.arguments, types.length]);
    });
    const references = types.map((type, i) => {
      const reference = referTo(last - types.length + 1 + i, here);
      reference.settledAs = type;
      return reference.proxy;
    });
    const values = tokens.map((token) => (typeOf(token) === undefined ? decode(token) : references.shift()));
    const positional = values.slice(0, args.length);
    const names = Object.keys(kwargs);
    if (names.length === 0) return positional;
    return [...positional, Object.fromEntries(names.map((name, i) => [name, values[args.length + i]]))];
  }

  #return(running: Running, value: unknown): void {
    const { generation } = running.here.lane;
    const { failure, thrown } = generation;
    // An operation has failed that nobody awaited. (The function may have caught the error of one that it did.)
    if (failure !== undefined && !thrown) return this.#raise(running, failure.error);
    try {
      this.#end(running, (outbox, place) =>
        outbox.force(place, (batch) =>
          outbox.append(
            batch,
            outbox.encoded(batch, (encoder) => [Op.return, encoder.encode(value, "what the function returns")]),
          ),
        ),
      );
    } catch (error) {
      this.#raise(running, error);
    }
  }

  #raise(running: Running, error: unknown): void {
    const number = this.#options.thrown.note(error);
    const { metaBytes, textBytes } = this.#options.outbox.limits;
    const [message, stack] = described(error, Math.min(LONGEST_TEXT, Math.floor(metaBytes / SHARE), textBytes >> 2));
    try {
      this.#end(running, (outbox, place) =>
        outbox.force(place, (batch) => void outbox.append(batch, [Op.raise, number, message, stack])),
      );
    } catch {
      // The worker is gone, and Python's call with it.
      this.#over(running.call);
    }
  }

  /** Sends the end of a call, and frees what the function has made. Throws where it cannot be sent. */
  #end({ call, here }: Running, append: (outbox: Outbox, place: Here) => void): void {
    const { outbox, ambient } = this.#options;
    // A lane that has failed runs nothing any more.
    const lane = here.lane.generation.failure === undefined ? here.lane : ambient.newLane(call);
    const place = { ...here, lane };
    append(outbox, place);
    const freed = here.scope.end();
    if (freed.length > 0) outbox.release(freed, place);
    outbox.flush();
    if (lane.generation.failure !== undefined) throw lane.generation.failure.error;
    this.#over(call);
  }

  #over(call: Call): void {
    call.isOver = true;
    this.#open.delete(call.id);
  }
}

/** The type of an argument that is a reference; undefined for a value. */
function typeOf(token: unknown): string | undefined {
  return Array.isArray(token) && token[0] === Tag.reference ? (token[1] as string) : undefined;
}

function isThenable(value: unknown): boolean {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  return typeof (value as { then?: unknown }).then === "function";
}

/** What Python shows of an error, which may be anything. */
function described(error: unknown, most: number): [message: string, stack: string] {
  try {
    const message = isError(error) ? `${error.name}: ${error.message}` : messageOf(error);
    const stack = isError(error) ? (textOf(error) ?? "") : "";
    return [wellFormed(message.slice(0, most)), wellFormed(stack.slice(0, most))];
  } catch {
    return ["an error that cannot be shown", ""];
  }
}

/** Half of a surrogate pair has no form in UTF-8. */
const wellFormed = (text: string): string => Buffer.from(text, "utf8").toString("utf8");
