import type { ContextOptions } from "./log/context.ts";
import { TorchwireError } from "./errors/errors.ts";
import { isPlainObject, viewKind } from "./runtime/kinds.ts";
import {
  asStored,
  dtypeOf,
  dtypes,
  holds,
  isDType,
  isNDArray,
  widened,
  withoutDType,
  type DType,
  type NDArray,
  type TypedArray,
} from "./values/ndarray.ts";
import { Pace } from "./pace/pace.ts";
import { Window } from "./pace/window.ts";
import { openCall } from "./log/call.ts";
import { Control, type Liveness, type Pong } from "./session/control.ts";
import { checkNDArray } from "./values/check.ts";
import { checkMemory } from "./values/lend.ts";
import type { LinkChange, LinkState } from "./link/transport.ts";
import type { Life } from "./session/life.ts";
import { functionOf, notRecorded } from "./recording/function.ts";
import { currentRecorder, inner } from "./reference/ref.ts";
import type { Session, Counts } from "./session/session.ts";
import { Modules, type ModuleOptions } from "./source/modules.ts";
import type { AnyRef, PyObject, Ref } from "./types/core.ts";
import type { PyFunction } from "./types/function.ts";
import type { KnownModule, ModuleName, PythonModule } from "./types/modules.ts";
import type { Tensor } from "./types/tensor.ts";

export interface WorkerInfo {
  readonly pid: number;
  /**
   * The device that the option `device` has led to: "cpu", "cuda" and the like. Pass it on: `model.to(worker.device)`.
   */
  readonly device: string;
  readonly versions: Readonly<Record<string, string>>;
}

/** What a worker keeps of this program's samples: see `keep` of a DataLoader. */
export interface KeptCounts {
  /** Samples that were sent to it. */
  samples: number;
  /** Bytes of their arrays. */
  bytes: number;
  /** Samples that it found in a cache on its disk. */
  cached: number;
  /** Samples of batches that were there already, each time they came. */
  hits: number;
}

export interface WorkerStats extends Counts {
  readonly kept: Readonly<KeptCounts>;
  /** The milliseconds that this question took, to the worker and back. */
  readonly latencyMs: number;
  readonly worker: Pong;
}

/** Numbers, nested like the tensor's dimensions. */
export type NestedNumbers = number | boolean | readonly NestedNumbers[];

export interface TensorOptions {
  /**
   * Default: that of the array; numbers are float32, booleans bool. It says what a typed array holds where the array
   * does not tell (a Uint8Array of bool, a Uint16Array of bits of half floats, a Float32Array of pairs, complex64), and
   * it widens where no number can change: int32 to int64.
   */
  readonly dtype?: DType;
  /** Default: that of the array. */
  readonly shape?: readonly number[];
}

/** A session with a Python worker. Everything that needs only a reference is in `py`. */
export class Worker implements AsyncDisposable {
  readonly pid: number;
  readonly device: string;
  /** Versions on the other side: torchwire's protocol, python, torch, torchvision, pyzmq, msgspec, numpy. */
  readonly versions: Readonly<Record<string, string>>;
  readonly #session: Session;
  readonly #control: Control;
  readonly #life: Life;
  readonly #modules: Modules;

  constructor(info: WorkerInfo, session: Session, control: Control, life: Life) {
    this.pid = info.pid;
    this.device = info.device;
    this.versions = info.versions;
    this.#session = session;
    this.#control = control;
    this.#life = life;
    this.#modules = new Modules(session.log);
    workers.set(session.log, this);
  }

  /**
   * A Python module, as `import name` gives it. Modules that torchwire knows, and those that you declare, have types.
   */
  import<const K extends KnownModule | (string & {})>(name: K): PythonModule<K> {
    return this.#session.log.import(name) as PythonModule<K>;
  }

  /**
   * A Python module of the program's own, whose source is on this machine, wherever the worker is:
   * `worker.module("./my_unet.py")`, or the folder of a package. It is imported under its name, `my_unet`.
   *
   * The source is sent, with that of the modules beside it which it imports, and no file is written there. A module is
   * sent once, and again where a file of it has changed; it is run once, unless `reload` is true.
   *
   * A relative path begins at the current folder, as in `node:fs`. `new URL("./my_unet.py", import.meta.url)` begins
   * beside the program's own file. The types are those that `PythonModules` has for the module's name, or those of the
   * type argument.
   * @throws MISUSE where there is no such file or package, where Python cannot import its name, and where another module
   *   of this name was sent. What fails in the worker rejects what awaits it: an ImportError where Python or an
   *   installed package has that name, a SyntaxError with file and line, whatever the module raises.
   */
  module<const P extends string>(path: P, options?: ModuleOptions): PythonModule<ModuleName<P>>;
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- it is the caller who knows the module
  module<T extends object = AnyRef>(path: string | URL, options?: ModuleOptions): T;
  module(path: string | URL, options: ModuleOptions = {}): object {
    notRecorded("worker.module", "import the module before, and use the reference here");
    return this.#modules.import(path, options);
  }

  /**
   * A tensor on the CPU, made from a copy of `data`.
   * @throws NOT_SENDABLE where dtype, shape and data do not fit each other.
   */
  tensor(data: NDArray | TypedArray | Uint8ClampedArray | NestedNumbers, options: TensorOptions = {}): Ref<Tensor> {
    const helpers = this.#session.log.wellKnown("helpers");
    const log = helpers.owner;
    if (isPlainObject(data) && !isNDArray(data))
      refuse(
        `an array is { dtype, shape, data }, a typed array or nested numbers; the dtypes are ${dtypes.join(", ")}`,
      );
    if (ArrayBuffer.isView(data) || isNDArray(data)) {
      return log.callPath(helpers, ["identity"], [asNDArray(data, options)]) as Ref<Tensor>;
    }
    return log.callPath(helpers, ["tensor_of"], [data, options.dtype ?? null, options.shape ?? null]) as Ref<Tensor>;
  }

  /**
   * A Python function, made of a function of references. `fn` runs here once, over placeholders; all that it does to
   * references becomes the body of the Python function. So Python calls it without asking this program: as a hook, a
   * sort key, the function of `torch.func.grad` or `torch.compile`. `py.source` shows its Python.
   *
   * References from outside are closure variables, and live as long as the function. Numbers, text and all else that is
   * JavaScript's own have the values of this one run. An array becomes a tensor that is new at each call. A function
   * within is recorded too, by `worker.function`. It may return nothing, a value, or values in an array (a list),
   * `py.tuple` or a record (a dict).
   *
   * The result is a reference, and is freed with its scope. It is called by position: the parameters have the names of
   * `fn`'s, which a minifier changes.
   * @throws MISUSE where `fn` asks for a value: by await, `py.js`, `py.len`, or a comparison. An `if (x)` cannot be
   * noticed, and records one branch.
   */
  function(fn: (...args: AnyRef[]) => unknown): AnyRef;
  function<A extends readonly PyObject<any>[], R>(fn: (...args: A) => R): Ref<PyFunction<A, R>>;
  function(fn: unknown): unknown {
    return functionOf(this.#session.log, fn);
  }

  /**
   * Runs `fn` as a lane of its own, which is one logical thread: an operation that fails in it stops the rest of this
   * lane and nothing outside. Its error rejects the result, unless `fn` has caught it.
   */
  lane<T>(fn: () => T | PromiseLike<T>): Promise<T> {
    notRecorded("worker.lane", "a failure in it is Python's to raise; leave the lane out");
    return this.#session.log.ambient.lane(fn, (generation) => this.#session.answered(generation));
  }

  /**
   * Runs `fn` at once, as a lane of its own: an operation in it fails alone, and stops nobody else. It waits for
   * nothing. The function that is returned waits, and rejects with what failed; it gives undefined where there is
   * nothing to wait for.
   */
  apart<T>(fn: () => T): readonly [value: T, outcome: () => Promise<void> | undefined] {
    notRecorded("worker.apart", "a failure in it is Python's to raise; leave it out");
    const { log } = this.#session;
    const [value, generation] = log.ambient.apart(fn);
    const outcome = async (): Promise<void> => {
      log.outbox.flushOf(generation);
      await this.#session.answered(generation);
      if (generation.failure !== undefined) throw generation.failure.error;
    };
    let isDone = false;
    return [
      value,
      () => {
        log.outbox.flushOf(generation);
        isDone ||= generation.inFlight === 0 && generation.failure === undefined;
        return isDone ? undefined : outcome();
      },
    ];
  }

  /**
   * Runs `fn`, frees at its end all that was made in it and sends it all as one batch, as TensorFlow.js's `tidy` does.
   * What `fn` returns outlives the scope: a reference, or those in arrays, records, Maps, Sets and the fields of objects,
   * nested. They belong to the scope around this one, whose end frees them; where there is none, to the garbage
   * collector. `py.keep` takes a reference out of all scopes. References in private fields (#x), behind getters and in
   * the variables of a function that is returned cannot be seen: keep those.
   *
   * An async scope, or one that returns something else with a `then`, ends when that is settled, and also waits where
   * the worker has fallen far behind. It never waits for a reply. Promises within an array or a record are not waited
   * for.
   */
  scope<T>(fn: () => T): T {
    // A recorded function frees by itself what it makes.
    if (currentRecorder() !== undefined) return fn();
    return this.#session.log.ambient.scope(fn, () => this.#session.credit());
  }

  /** Runs `fn` with ambient state of the worker that holds for the operations made inside it, and for no others. */
  context<T>(options: ContextOptions, fn: () => T | PromiseLike<T>): Promise<T> {
    notRecorded(
      "worker.context",
      "wrap a function in the context, as Python's decorators do: torch.no_grad()(worker.function((x) => …))",
    );
    return this.#session.log.ambient.context(options, fn);
  }

  /** Counts of this side, and the worker's report on itself. A busy worker answers too. */
  async stats(): Promise<WorkerStats> {
    const start = performance.now();
    const worker = await this.#control.ping();
    return { ...this.#session.counts, kept: { ...keptCounts(this) }, latencyMs: performance.now() - start, worker };
  }

  /**
   * For a loop by hand: says when to issue the next step, so that the worker never waits for the loop. `window` is the
   * number of steps in flight; by default so many as make some 25 ms of work, from 3 to 32, in bursts.
   *
   * @throws MISUSE unless `window` is a whole number from 1.
   */
  pace({ window: fixed }: { readonly window?: number } = {}): Pace {
    const window = new Window(fixed);
    // (The steps tell of a worker that is gone.)
    this.stats().then(
      ({ latencyMs }) => window.hears(latencyMs),
      () => undefined,
    );
    return new Pace(window);
  }

  /** How often Python has called functions of this program, by their names. Each call was a round trip. */
  get calls(): ReadonlyMap<string, number> {
    return this.#session.log.outbox.functions.calls;
  }

  /** Asks how the worker is. Takes half a second at most. */
  liveness(): Promise<Liveness> {
    return this.#control.liveness();
  }

  /**
   * "up", or "connecting" while a cut link is being made again: nothing is lost meanwhile, only awaits take longer.
   * "down" and "refused" are final.
   */
  get link(): LinkState {
    return this.#life.link;
  }

  /** Calls `listener` whenever `link` changes, until the function that is returned is called. */
  onLink(listener: (change: LinkChange) => void): () => void {
    return this.#life.onLink(listener);
  }

  /**
   * Runs all that was queued, then ends the worker. Rejects with the error of a failed operation that nothing has
   * awaited yet: no failure goes unnoticed. Closing twice is closing once.
   */
  close(): Promise<void> {
    const call = openCall(this.#session.log.ambient.here.lane.call);
    if (call?.holds === true)
      return Promise.reject(
        new TorchwireError(
          "MISUSE",
          "close() in a function that Python calls would wait for the function itself: close the worker outside, or kill() it",
        ),
      );
    return this.#life.close();
  }

  /** Ends the worker at once, whatever it does. All that is pending rejects. */
  kill(): Promise<void> {
    return this.#life.kill();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const workers = new WeakMap<object, Worker>();

const kept = new WeakMap<Worker, KeptCounts>();

/** The counts of what this worker keeps, for whoever makes it keep something. */
export function keptCounts(worker: Worker): KeptCounts {
  let counts = kept.get(worker);
  if (counts === undefined) kept.set(worker, (counts = { samples: 0, bytes: 0, cached: 0, hits: 0 }));
  return counts;
}

/** The worker of `reference`; undefined where it is no reference. */
export function workerOf(reference: unknown): Worker | undefined {
  const home = inner(reference)?.home;
  return home === undefined ? undefined : workers.get(home);
}

function asNDArray(data: NDArray | ArrayBufferView, { dtype, shape }: TensorOptions): NDArray {
  const own = ArrayBuffer.isView(data) ? viewed(data, dtype) : data;
  checkNDArray(own, "worker.tensor");
  const array = dtype === undefined || dtype === own.dtype ? own : (widened(own, dtype) ?? otherwise(own, dtype));
  if (shape === undefined) return array;
  const reshaped = { ...array, shape };
  checkNDArray(reshaped, "worker.tensor");
  return reshaped;
}

/** A typed array in one dimension. `dtype` tells what it holds where it may hold several types. */
function viewed(view: ArrayBufferView, dtype: DType | undefined): NDArray {
  checkMemory(view, "worker.tensor");
  const told = dtype !== undefined && isDType(dtype) && holds(dtype, asStored(view)) ? dtype : dtypeOf(view);
  if (told === undefined) return refuse(withoutDType(view));
  const data = asStored(view);
  return { dtype: told, shape: [told === "complex64" ? data.length >> 1 : data.length], data };
}

function otherwise({ dtype, data }: NDArray, asked: DType): never {
  const half = asked === "float16" || asked === "bfloat16";
  return refuse(
    `a ${viewKind(data)} of ${dtype} may lose by dtype ${asked}; convert it ${half ? `here, ${asked}.from(x), or ` : ""}there: .to(torch.${asked})`,
  );
}

function refuse(why: string): never {
  throw new TorchwireError("NOT_SENDABLE", `worker.tensor: ${why}`);
}
