/**
 * Records a function of references: it is run once over placeholders, and all that it does to references becomes the
 * steps of a Python function. Nothing of it reaches the log, except arrays of JavaScript, which become tensors there.
 */
import { types } from "node:util";
import { TorchwireError } from "../errors/errors.ts";
import { deep, locate } from "../errors/site.ts";
import type { Log } from "../log/log.ts";
import { lookAfter } from "../reference/refused.ts";
import { inner, ONCE, Reference, type Origin, type RefOwner } from "../reference/ref.ts";
import { isPromise } from "../runtime/kinds.ts";
import type { WELL_KNOWN } from "../wire/codes.ts";
import { argumentsOf, expressionOf, type Expression, type Sources } from "./expressions.ts";
import { hasRest, nameOf, parametersOf } from "./names.ts";

/** The steps of one function. python/torchwire_worker/helpers/writing.py writes the Python of each. */
type Step = readonly [kind: string, ...rest: unknown[]];

interface Body {
  readonly outer: Body | undefined;
  readonly steps: Step[];
  over: boolean;
}

/** A function as the worker makes it. */
export interface Recorded {
  readonly name: string;
  readonly parameters: readonly (readonly [id: number, name: string])[];
  readonly steps: readonly Step[];
  readonly result: Expression;
}

/** A loop of JavaScript is unrolled. Past this it would be a program that nobody can read, and slow to compile. */
const MOST_STEPS = 10_000;

/** Stands for a value that the function will have: an argument, or what an operation gives. */
class Placeholder extends Reference {
  readonly body: Body;
  /** The placeholders of the parts, where it is a value that `py.unpack` takes apart. */
  parts: readonly Placeholder[] | undefined;
  readonly #name: string;

  constructor(recording: Recording, id: number, body: Body, name: string) {
    super(recording, id, recording, undefined);
    this.body = body;
    this.#name = name;
  }

  override get tag(): string {
    return `[PyRef ${this.#name}]`;
  }
}

export class Recording implements RefOwner, Origin, Sources {
  /** What the function has from outside: the references that it uses, in the order of their first use. */
  readonly outer: Reference[] = [];
  /** Tensors made of arrays of JavaScript. They are in `outer` too, and nobody else needs them. */
  readonly made: Reference[] = [];
  readonly log: Log;
  readonly #places = new Map<number, number>();
  readonly #placeholders: Placeholder[] = [];
  #body: Body | undefined;
  #refusal: Error | undefined;

  constructor(log: Log) {
    this.log = log;
  }

  /** Runs `fn` over placeholders. Throws what `fn` throws, and MISUSE where it did what cannot be recorded. */
  run(fn: (...args: any[]) => unknown): Recorded {
    if (hasRest(fn)) throw this.refused(`rest parameters have no placeholder: name each argument, as in (x, y) => …`);
    if (types.isGeneratorFunction(fn)) throw this.refused("a generator cannot be recorded: return an array of values");
    const body: Body = { outer: this.#body, steps: [], over: false };
    this.#body = body;
    try {
      const parameters = parametersOf(fn);
      const values = parameters.map((name, i) => this.#placeholder(name || `argument ${i + 1}`));
      const given = fn(...values.map((value) => value.proxy));
      // It may have caught the error, and have gone on without what it wanted.
      if (this.#refusal !== undefined) {
        lookAfter(given);
        throw this.#refusal;
      }
      if (isPromise(given)) {
        lookAfter(given);
        throw this.refused("an async function cannot be recorded: leave async and await out, for nothing in it waits");
      }
      const result = this.expression(given, "what the function returns");
      const named = parameters.map((parameter, i) => [values[i]!.id, parameter] as const);
      return { name: nameOf(fn), parameters: named, steps: body.steps, result };
    } finally {
      body.over = true;
      this.#body = body.outer;
      if (body.outer === undefined) this.#end();
    }
  }

  /** A function within the function that is recorded: it sees the placeholders around it. */
  nested(fn: (...args: any[]) => unknown): object {
    const { name, parameters, steps, result } = this.run(fn);
    return this.#value(name || "function", (id) => ["def", id, name, parameters, steps, result]);
  }

  get(target: Reference, name: string): object {
    return this.#value(name, (id) => ["get", id, this.#use(target), name]);
  }

  set(target: Reference, name: string, value: unknown): void {
    this.#step(() => ["set", this.#use(target), name, this.expression(value, `value of .${name}`)]);
  }

  delete(target: Reference, name: string): void {
    this.#step(() => ["del", this.#use(target), name]);
  }

  call(target: Reference, args: readonly unknown[]): object {
    return this.#value("a result", (id) => ["call", id, this.#use(target), ...argumentsOf(args, this)]);
  }

  /** The calls of `py` and of `worker.tensor`: of the functions that every worker has. */
  callPath(target: Reference, [name]: readonly string[], args: readonly unknown[]): object {
    const of = (module: keyof typeof WELL_KNOWN): boolean => target.id === this.log.wellKnown(module).id;
    this.log.outbox.idOf(target);
    if (of("operator")) {
      const [a, b] = args.map((value, i) => this.expression(value, `args[${i}]`));
      return this.#value("a result", (id) => ["op", id, name, a, b]);
    }
    if (of("helpers") && name === "unpack") return this.#unpacked(args[0], args[1] as number);
    if (of("helpers") && (name === "identity" || name === "tensor_of")) return this.#tensor(name, args);
    return this.#value("a result", (id) => ["call", id, ["builtin", name], ...argumentsOf(args, this)]);
  }

  item(target: Reference, key: unknown): object {
    const part = target instanceof Placeholder ? target.parts?.[key as number] : undefined;
    return (
      part?.proxy ?? this.#value("an item", (id) => ["item", id, this.#use(target), this.expression(key, "index")])
    );
  }

  setItem(target: Reference, key: unknown, value: unknown): void {
    this.#step(() => ["setitem", this.#use(target), this.expression(key, "index"), this.expression(value, "value")]);
  }

  deleteItem(target: Reference, key: unknown): void {
    this.#step(() => ["delitem", this.#use(target), this.expression(key, "index")]);
  }

  wellKnown(name: keyof typeof WELL_KNOWN): Reference {
    return this.log.wellKnown(name);
  }

  passed(): Promise<void> {
    return Promise.resolve();
  }

  awaitedAt(): never {
    return this.#refuse(
      `a value cannot be awaited while its function is recorded: ${ONCE}. Return a reference, and await what a call of the function gives; choose with torch.where(condition, a, b)`,
    );
  }

  settle(): never {
    return this.#refuse(
      `a value cannot be had while its function is recorded: ${ONCE}. Ask Python's own function for a reference: builtins.len(x), builtins.isinstance(x, cls) or builtins.hasattr(x, name), with worker.import("builtins")`,
    );
  }

  fetch(): never {
    return this.#refuse(
      `a value cannot be fetched while its function is recorded: ${ONCE}. Return the reference, and fetch what a call of the function gives`,
    );
  }

  iterate(target: Reference): never {
    return this.#refuse(
      `${target.tag} has no items while its function is recorded: ${ONCE}. Take a known number of items with py.unpack(x, n); for any number write builtins.map(worker.function((item) => …), x), with worker.import("builtins")`,
    );
  }

  /** Python frees what a function made when it returns. */
  release(target: Reference): void {
    if (target.home !== this) this.#refuse(`${target.tag} is from outside the function, and is freed there`);
  }

  keep(target: Reference): void {
    if (target.home !== this) return target.home.keep(target);
    this.#refuse(`${target.tag} lives in the function that is recorded: return it, and keep what a call gives`);
  }

  refused(message: string): Error {
    const error = new TorchwireError("MISUSE", `worker.function: ${message}`);
    deep(() => locate(error));
    this.#refusal ??= error;
    return error;
  }

  /** Its expression: a placeholder, or a reference from outside. Throws where it cannot be used here. */
  reference(reference: Reference): Expression {
    if (!(reference instanceof Placeholder) || reference.home !== this) return ["outer", this.#outer(reference)];
    if (reference.body.over)
      this.#refuse(`${reference.tag} belongs to the function inside: return it from there, and use what a call gives`);
    return ["value", reference.id];
  }

  /** A tensor that is made anew at each call, as `torch.tensor([…])` would make it. */
  tensor(array: unknown): Expression {
    return this.reference(inner(this.#tensor("identity", [array]))!);
  }

  refuse(path: string, why: string): never {
    const error = new TorchwireError("NOT_SENDABLE", `worker.function: ${path}: ${why}`);
    // Each level of a nested value has frames of its own.
    deep(() => locate(error), 200);
    this.#refusal ??= error;
    throw error;
  }

  lacks(): boolean {
    return false;
  }

  errorFor(): TorchwireError {
    return new TorchwireError("NO_VALUE", GONE);
  }

  hasBeenThrown(): void {}

  expression(value: unknown, path: string): Expression {
    return expressionOf(value, path, this);
  }

  #use(target: Reference): Expression {
    return this.reference(target);
  }

  #outer(reference: Reference): number {
    const id = this.log.outbox.idOf(reference);
    let place = this.#places.get(id);
    if (place === undefined) {
      this.#places.set(id, (place = this.outer.length));
      this.outer.push(reference);
    }
    return place;
  }

  #tensor(how: string, args: readonly unknown[]): object {
    const made = inner(this.log.callPath(this.log.wellKnown("helpers"), [how], args))!;
    this.made.push(made);
    return this.call(inner(this.get(made, "clone"))!, []);
  }

  #unpacked(value: unknown, count: number): object {
    const whole = this.expression(value, "args[0]");
    const parts: Placeholder[] = Array.from({ length: count }, (_, i) => this.#placeholder(`item ${i}`));
    this.#step(() => ["unpack", parts.map(({ id }) => id), whole]);
    const all = this.#placeholder("items");
    all.parts = parts;
    return all.proxy;
  }

  #value(name: string, build: (id: number) => Step): object {
    this.#open();
    const made = this.#placeholder(name);
    this.#step(() => build(made.id));
    return made.proxy;
  }

  #step(build: () => Step): void {
    const { steps } = this.#open();
    steps.push(build());
    if (this.#placeholders.length > MOST_STEPS)
      this.#refuse(
        `the function has more than ${MOST_STEPS.toLocaleString("en")} operations: a loop of JavaScript is recorded round by round. Write it as one operation on tensors, or as Python in a module of yours`,
      );
  }

  #placeholder(name: string): Placeholder {
    const made = new Placeholder(this, this.#placeholders.length + 1, this.#open(), name);
    this.#placeholders.push(made);
    return made;
  }

  #open(): Body {
    if (this.#body === undefined) throw new TorchwireError("NO_VALUE", `worker.function: ${GONE}`);
    return this.#body;
  }

  #refuse(message: string): never {
    this.#open();
    throw this.refused(message);
  }

  #end(): void {
    for (const made of this.#placeholders) made.gone = GONE;
  }
}

const GONE =
  "it stands for a value inside a function that has been recorded, and has none here; return it from the function, and use what a call gives";
