/**
 * Makes a worker object from an address: it greets the worker, whether that was started for us or serves elsewhere, and
 * opens the session.
 */
import { hostname, userInfo } from "node:os";
import type { Logger } from "pino";
import { processPlace } from "../environment/processes.ts";
import { TorchwireError } from "../errors/errors.ts";
import type { CurveKeys, FaultKind } from "../link/connection.ts";
import { Link, type Carrier, type Endpoints } from "../link/link.ts";
import type { Transport } from "../link/transport.ts";
import { Control } from "../session/control.ts";
import { Life, type OwnProcess } from "../session/life.ts";
import { Session } from "../session/session.ts";
import { noteRecorded } from "../tape/of.ts";
import { MessageType } from "../wire/header.ts";
import { defaultLimits, longestPart, smaller, told, type Limits } from "../wire/limits.ts";
import { encodeMessage } from "../wire/meta.ts";
import type { WireWelcome } from "../wire/schema.ts";
import type { WireSettings } from "../wire/settings.ts";
import { Worker } from "../worker.ts";
import type { Owned } from "./keyed.ts";

export interface AttachOptions {
  readonly endpoints: Endpoints;
  readonly curve?: CurveKeys | undefined;
  /** The session's own secret: whoever knows it is the same client. */
  readonly token: string;
  /** A worker that was not started for us is told them in the greeting. */
  readonly settings?: WireSettings;
  /** The process that had the worker, and has ended. */
  readonly replaces?: string | undefined;
  readonly limits: Limits;
  readonly logger: Logger;
  /** torchwire's own version. */
  readonly version: string;
  /** Milliseconds for one attempt to connect. Default: without end. */
  readonly timeout?: number;
  /** Gives the error to give up with, after `sinceMs` without a link; undefined to try again. Default: try again. */
  readonly givesUp?: (fault: FaultKind, sinceMs: number, welcome: WireWelcome | undefined) => Error | undefined;
  readonly over: Carrier;
  readonly process?: OwnProcess;
}

const linkTo = ({ endpoints, curve, limits, over, timeout }: AttachOptions): Link =>
  new Link({
    endpoints,
    curve,
    frameBytes: longestPart(limits),
    over,
    attemptMs: timeout === undefined ? undefined : 0.7 * timeout,
  });

export async function attach(options: AttachOptions, transport: Transport = linkTo(options)): Promise<Owned> {
  const { limits, logger } = options;
  let info: WireWelcome | undefined;
  let onWelcome!: (welcome: WireWelcome) => void;
  const welcomed = new Promise<WireWelcome>((resolve) => {
    onWelcome = resolve;
  });
  const session: Session = new Session(transport, { onWelcome, onClosed: () => life.farewell() });
  session.limits = limits;
  const apart = options.over === "network" ? "unreachable" : "stopped";
  const control = new Control(transport, logger, apart, ({ category, message }) =>
    session.warnings.show(category, message),
  );
  const life: Life = new Life({ session, control, transport, logger, process: options.process });
  transport.open({
    greeting: (epoch) => {
      // Nothing may come before the greeting on a new connection.
      session.suspend();
      const meta = helloOf(options, info !== undefined);
      return encodeMessage({ type: MessageType.hello, session: epoch, ack: session.answeredSeq, meta }, defaultLimits);
    },
    onData: (parts) => session.receive(parts),
    onControl: (parts) => control.receive(parts),
    onChange: (change) => life.linkChanged(change),
    mayTryAgain: (fault, sinceMs) => options.givesUp?.(fault, sinceMs, info),
    onError: (error) => life.fail(error),
  });
  const failed = life.over.then(() => Promise.reject(session.ended!));
  // (One of the two welcomes may come, and the other never.)
  const [welcome, asControl] = await Promise.race([Promise.all([welcomed, control.welcomed]), failed]);
  info = welcome;
  if (info.worker !== asControl) {
    // Each of the two would wait for the other half of this client, and then drop it.
    const error = new TorchwireError("PROTOCOL", "the connections for data and for control lead to two workers");
    life.fail(error);
    throw error;
  }
  session.limits = session.log.outbox.limits = smaller(limits, info.limits);
  const worker = new Worker(info, session, control, life);
  if (options.settings !== undefined)
    noteRecorded(worker, {
      tape: session.tape,
      settings: options.settings,
      limits: session.limits,
      version: options.version,
    });
  return {
    worker,
    get over() {
      return !life.isOpen;
    },
    gone: life.gone,
    end: (why) => life.kill(new TorchwireError("CLOSED", why)),
  };
}

/** The first message says who we are, and what we ask of the worker. */
function helloOf(
  { token, version, limits, settings, replaces, process: own }: AttachOptions,
  resumes: boolean,
): Record<string, unknown> {
  return {
    token,
    client: { name: "torchwire", version, node: process.versions.node, ...whoWeAre() },
    limits: told(limits),
    ...(settings === undefined || own !== undefined ? {} : { settings: { ...settings, seed: whole(settings.seed) } }),
    ...(resumes ? { resumes: true } : replaces === undefined ? {} : { replaces }),
  };
}

/** A number past 32 bits would be written as a float. */
const whole = (seed: number | null): number | bigint | null =>
  seed === null || seed === seed >> 0 ? seed : BigInt(seed);

/** Another client gets this in its error while we have the worker. */
export function whoWeAre(): { user: string; host: string; place: string; pid: string } {
  let user = "";
  try {
    user = userInfo().username;
  } catch {
    // This user has no entry in passwd, as in many containers.
  }
  return { user, host: hostname(), place: processPlace(), pid: String(process.pid) };
}
