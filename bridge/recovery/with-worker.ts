/** `withWorker`: runs a body with a worker, and again with a new one where the worker was lost. */
import { setTimeout as delay } from "node:timers/promises";
import { TorchwireError } from "../errors/errors.ts";
import { addToMessage, captureSite, formatSite, shortSite } from "../errors/site.ts";
import type { Owned } from "../start/keyed.ts";
import { settingsOf } from "../wire/settings.ts";
import type { Worker } from "../worker.ts";
import { mayLeave } from "./leaving.ts";
import { chainOf, firstLine, lossIn } from "./loss.ts";
import { defaultPlace, placeOf, type OpenOptions, type Place } from "./places.ts";
import { FIRST_WAIT_MS, LONGEST_WAIT_MS, Restarts, type RestartOptions } from "./restarts.ts";

export interface WithWorkerOptions extends OpenOptions {
  /**
   * Where the worker runs: "here", "ssh://gpu-box", "tcp://gpu-box:5555". Of several places the first that gives a
   * worker is taken, at each start. `python`, `cwd`, `env`, `transport` and `workerDir` count here only; `profile` and
   * `timeout` count at tcp places only. Default: as with `spawnWorker`.
   */
  readonly on?: string | readonly string[];
  /**
   * How often the body runs again, with a new worker, where the worker was lost: so many times within 10 minutes. It
   * waits before: 1 s, then twice as long each time, 30 s at most. Default 0.
   */
  readonly restarts?: number | RestartOptions;
}

/** A body's own run. */
export interface WorkerRun {
  /** Where the worker runs. */
  readonly place: string;
  /** How often the body has run before. */
  readonly before: number;
  /**
   * Leaves this worker for one at `place`. The fit with `resume` that is under way, or begins next, writes its
   * checkpoint and rejects with MOVED; then the body runs again there. Other fits are not cut. If `place` gives no
   * worker, the other places are tried. It returns at once. Throws MISUSE for a word that names no place.
   */
  moveTo(place: string): void;
}

/**
 * Opens a worker, runs `body` with it, and closes it. Resolves with what `body` returns.
 *
 * With `restarts`, the body runs again with a new worker where the worker was lost: where it rejects because of
 * WORKER_GONE. It must build again all that it uses, also what lies on this side: model, learner, loaders, callbacks. A
 * `fit` with `resume` in it then goes on where its last checkpoint stands. Nothing is left of the worker before.
 * @throws what the body throws; WORKER_GONE where a worker was lost too often, or twice at the same step; UNREACHABLE
 *   where no place gives a worker; MISUSE; and what `spawnWorker` and `connectWorker` throw.
 */
export async function withWorker<T>(
  options: WithWorkerOptions,
  body: (worker: Worker, run: WorkerRun) => T | PromiseLike<T>,
): Promise<T> {
  const site = formatSite(captureSite());
  const { restarts, ...where } = checked(options, body);
  let { places } = where;
  for (let before = 0, owned: Owned, place: Place; ; before++) {
    try {
      ({ owned, place } = await open(places, before > 0 && restarts.times > 0 ? restarts.withinMs : 0));
    } catch (error) {
      if (error instanceof TorchwireError && site !== undefined)
        addToMessage(error, `\n(withWorker at ${shortSite(site)})`);
      throw error;
    }
    const { worker } = owned;
    const leave = mayLeave(worker);
    const moveTo = (name: string): void => {
      const next = placeOf(name, where.options);
      places = [next, ...places.filter((one) => one.name !== name)];
      leave.abort(new TorchwireError("MOVED", `the run leaves its worker ${place.said} for one ${next.said}`));
    };
    try {
      const value = await body(worker, { place: place.name, before, moveTo });
      await worker.close();
      return value;
    } catch (error) {
      const isLost = lossIn(error) !== undefined;
      await (isLost ? worker.kill() : worker.close()).catch(() => undefined);
      if (leave.signal.aborted && chainOf(error).has(leave.signal.reason)) {
        warn(`${firstLine(leave.signal.reason as Error)}, and goes on there`);
        continue;
      }
      if (!isLost || restarts.times === 0) throw error;
      const { number, waitMs } = restarts.after(error);
      warn(
        `the worker ${place.said} was lost: ${firstLine(lossIn(error)!)}. ` +
          `Restart ${number} of ${restarts.times} within ${restarts.within} comes in ${waitMs / 1000} s, ${destination(places)}`,
      );
      await delay(waitMs);
    }
  }
}

const destination = (places: readonly Place[]): string =>
  places.length === 1
    ? places[0]!.said
    : `at the first of ${places.map(({ name }) => name).join(", ")} that gives a worker`;

const OPTIONS = {
  on: true,
  restarts: true,
  profile: true,
  timeout: true,
  ssh: true,
  python: true,
  cwd: true,
  env: true,
  transport: true,
  workerDir: true,
  logger: true,
  device: true,
  seed: true,
  deterministic: true,
  threads: true,
  malloc: true,
  limits: true,
} as const satisfies Readonly<Record<keyof WithWorkerOptions, true>>;

interface Checked {
  readonly places: readonly Place[];
  readonly options: OpenOptions;
  readonly restarts: Restarts;
}

function checked(given: WithWorkerOptions, body: unknown): Checked {
  const misuse = (what: string): TorchwireError => new TorchwireError("MISUSE", `withWorker${what}`);
  if (typeof given !== "object" || given === null || typeof body !== "function")
    throw misuse(" takes options and a function, as in withWorker({ restarts: 3 }, async (worker) => { … })");
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(OPTIONS, name));
  if (unknown !== undefined) throw misuse(` has no option "${unknown}"; it has ${Object.keys(OPTIONS).join(", ")}`);
  settingsOf("withWorker", given);
  const { on, restarts = 0, ...options } = given;
  if (on !== undefined && options.ssh !== undefined)
    throw misuse(`: on and ssh both say where the worker runs; give on: "ssh://gpu-box"`);
  const names: readonly unknown[] = Array.isArray(on) ? on : [on];
  if (names.length === 0) throw misuse(": on has no place");
  const places = on === undefined ? [defaultPlace(options)] : names.map((name) => placeOf(name, options));
  return { places, options, restarts: new Restarts(restarts) };
}

/** What is wrong with a place that may be right again by itself. */
const PASSING: ReadonlySet<string> = new Set(["UNREACHABLE", "BUSY", "WORKER_GONE"]);

/** Opens a worker at the first place that gives one. Tries all of them again for so many milliseconds. */
async function open(
  places: readonly Place[],
  patienceMs: number,
): Promise<{ readonly owned: Owned; readonly place: Place }> {
  const until = performance.now() + patienceMs;
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
    const refused: { name: string; error: TorchwireError }[] = [];
    for (const place of places)
      try {
        return { owned: await place.open(), place };
      } catch (error) {
        if (!(error instanceof TorchwireError) || error.code === "MISUSE") throw error;
        refused.push({ name: place.name, error });
        if (places.length > 1) warn(`passes over ${reasonOf(place.name, firstLine(error))}`);
      }
    const passes = refused.some(({ error }) => PASSING.has(error.code));
    if (!passes || performance.now() + waitMs > until) throw noneOf(refused);
    warn(`no place gives a worker now (${firstLine(refused[0]!.error)}). The next attempt comes in ${waitMs / 1000} s`);
    await delay(waitMs);
  }
}

function noneOf(refused: readonly { readonly name: string; readonly error: TorchwireError }[]): TorchwireError {
  if (refused.length === 1) return refused[0]!.error;
  const lines = refused.map(({ name, error }) => `\n  ${reasonOf(name, error.message).replaceAll("\n", "\n    ")}`);
  const errors = refused.map(({ error }) => error);
  return new TorchwireError("UNREACHABLE", `withWorker: no place gives a worker:${lines.join("")}`, {
    cause: new AggregateError(errors),
  });
}

/** Many an error begins with the place. */
const reasonOf = (name: string, message: string): string =>
  message.startsWith(`${name}: `) ? message : `${name}: ${message}`;

const warn = (message: string): void => process.emitWarning(`withWorker: ${message}`, { type: "TorchwireWarning" });
