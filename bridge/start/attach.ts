/** From an address to a worker object: the greeting, the session and its end, whether the worker was started for us or serves elsewhere. */
import { hostname, userInfo } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { processPlace } from "../environment/processes.ts";
import { TorchwireError } from "../errors/errors.ts";
import type { Owned } from "./keyed.ts";
import type { CurveKeys, FaultKind } from "../link/connection.ts";
import { Link, type Carrier, type Endpoints } from "../link/link.ts";
import type { LinkChange } from "../link/transport.ts";
import { Control } from "../session/control.ts";
import type { WorkerExitedError } from "./process.ts";
import { Session } from "../session/session.ts";
import type { Settings } from "../wire/settings.ts";
import { Worker } from "../worker.ts";
import { MessageType } from "../wire/header.ts";
import { defaultLimits, longestPart, smaller, told, type Limits } from "../wire/limits.ts";
import { encodeMessage } from "../wire/meta.ts";
import type { WireWelcome } from "../wire/schema.ts";

export interface AttachOptions {
  readonly endpoints: Endpoints;
  readonly curve?: CurveKeys | undefined;
  /** The session's own: who knows it is the same client. */
  readonly token: string;
  /** Asked of a worker that was not started for us. */
  readonly settings?: Settings;
  /** The process that had the worker, and has ended. */
  readonly replaces?: string | undefined;
  readonly limits: Limits;
  readonly logger: Logger;
  /** torchwire's. */
  readonly version: string;
  /** Milliseconds for one attempt to connect. Default: without end. */
  readonly timeout?: number;
  /** The error with which it is given up, after so long without a link; undefined where it may still come. Default: never. */
  readonly givesUp?: (fault: FaultKind, sinceMs: number, welcome: WireWelcome | undefined) => Error | undefined;
  readonly over: Carrier;
  /** Of a process of our own: with what it has ended. */
  readonly exited?: Promise<WorkerExitedError>;
  /** Of a process of our own: ends it. */
  readonly kill?: () => void;
}

export async function attach(options: AttachOptions): Promise<Owned> {
  const { token, settings, replaces, limits, logger, version } = options;
  let info: WireWelcome | undefined;
  let closing: Promise<void> | undefined;
  let killing: Promise<void> | undefined;
  const finished = deferred<void>();
  /** The link is cut after the worker's farewell: it has nothing more to say. Before it, the link is made again, and the worker waits for that. */
  const cut = deferred<void>();
  let isOver = false;
  const welcomed = deferred<WireWelcome>();
  const failed = deferred<never>();
  let over = failed.reject;
  const link = new Link({
    endpoints: options.endpoints,
    curve: options.curve,
    frameBytes: longestPart(limits),
    over: options.over,
    attemptMs: options.timeout === undefined ? undefined : 0.7 * options.timeout,
  });
  const session = new Session(link, {
    onWelcome: (welcome) => welcomed.resolve(welcome),
    onClosed: () => ((isOver = true), finished.resolve()),
  });
  session.limits = limits;
  const greeting = (epoch: number): Uint8Array[] => {
    // On a new connection nothing may come before it.
    session.suspend();
    return encodeMessage(
      {
        type: MessageType.hello,
        session: epoch,
        ack: session.answeredSeq,
        meta: {
          token,
          client: { name: "torchwire", version, node: process.versions.node, ...whoWeAre() },
          limits: told(limits),
          ...(settings === undefined ? {} : { settings: { ...settings, seed: whole(settings.seed) } }),
          ...(info === undefined ? (replaces === undefined ? {} : { replaces }) : { resumes: true }),
        },
      },
      defaultLimits,
    );
  };
  const listeners = new Set<(change: LinkChange) => void>();
  const apart = options.over === "network" ? "unreachable" : "stopped";
  const control = new Control(link, logger, apart, ({ category, message }) => session.warnings.show(category, message));
  link.open({
    greeting,
    onData: (parts) => session.receive(parts),
    onControl: (parts) => control.receive(parts),
    onChange: (change) => {
      // A worker that was told to end goes, as it should: its end may be seen before its last word is read.
      if (closing !== undefined && change.state === "connecting") return isOver ? cut.resolve() : undefined;
      // What a program does itself is no news to it.
      const level = change.state === "connecting" || change.state === "refused" ? "warn" : "debug";
      logger[level](change, `link ${change.state}`);
      for (const listener of listeners) tell(listener, change);
    },
    mayTryAgain: (fault, sinceMs) => options.givesUp?.(fault, sinceMs, info),
    onError: (error) => over(error),
  });
  const exited = options.exited?.then(async (error) => {
    // What it said last may still lie in the sockets.
    const heard = Promise.all([finished.promise, control.finished]);
    if (closing !== undefined) await Promise.race([heard, cut.promise, delay(1000, undefined, { ref: false })]);
    over(error);
  });
  try {
    // (One of the two may come, and the other never.)
    [info] = await Promise.race([Promise.all([welcomed.promise, control.welcomed]), failed.promise]);
  } catch (error) {
    link.close();
    throw error;
  }

  session.limits = session.log.outbox.limits = smaller(limits, info.limits);
  /** Why it has ended with something unanswered. */
  let lost: Error | undefined;
  const ended = deferred<void>();
  const end = (error: Error): void => {
    if (closing !== undefined && session.losesAnswers) lost ??= error;
    session.end(error);
    control.end(error);
    link.close();
    finished.resolve();
    ended.resolve();
  };
  over = (error) => {
    // One that went because it was told to is closed, whatever is heard of that first.
    end(closing !== undefined && session.unanswered === 0 ? closedError() : error);
    options.kill?.();
  };
  const gone = exited ?? ended.promise;

  const close = async (): Promise<void> => {
    if (session.ended !== undefined) return gone;
    session.sendClose();
    await finished.promise;
    // Python ends: what it writes and logs meanwhile comes by the other socket. The worker bounds the time that this takes.
    await Promise.race([control.finished, exited ?? cut.promise, ended.promise]);
    // A failure that nobody has awaited is told here.
    const { failure, thrown } = session.log.outbox.mainLane.generation;
    end(closedError());
    await gone;
    if (failure !== undefined && !thrown) throw failure.error;
    if (lost !== undefined) throw lost;
    const exit = await options.exited;
    if (exit !== undefined && exit.exitCode !== 0 && killing === undefined)
      process.emitWarning(`the worker was closed, but its Python did not end as it should: ${exit.message}`, {
        type: "TorchwireWarning",
      });
  };
  const kill = async (why: Error): Promise<void> => {
    if (session.ended === undefined && options.kill === undefined) await control.kill();
    session.end(why);
    end(why);
    options.kill?.();
    await gone;
  };
  const worker = new Worker(info, session, control, {
    close: () => (closing ??= close()),
    // (Also where `close` waits for what takes too long.)
    kill: () => (closing = killing ??= kill(closedError())),
    link: () => link.state,
    onLink: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  });
  return {
    worker,
    get over() {
      return closing !== undefined || session.ended !== undefined;
    },
    gone,
    end: (why) => (closing = killing ??= kill(new TorchwireError("CLOSED", why))),
  };
}

/** Past 32 bits a number would be written as a float. */
const whole = (seed: number | null): number | bigint | null =>
  seed === null || seed === seed >> 0 ? seed : BigInt(seed);

/** What it throws is the program's to hear of, as with any event of Node's; the link has nothing to do with it. */
function tell(listener: (change: LinkChange) => void, change: LinkChange): void {
  try {
    listener(change);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}

/** For the error that another client gets meanwhile. */
export function whoWeAre(): { user: string; host: string; place: string; pid: string } {
  let user = "";
  try {
    user = userInfo().username;
  } catch {
    // One without an entry in passwd, as in many containers.
  }
  return { user, host: hostname(), place: processPlace(), pid: String(process.pid) };
}

const closedError = (): TorchwireError =>
  new TorchwireError("CLOSED", "the worker was closed by this program; start another one");

interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  // Who waits for it hears of it all the same.
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}
