/** `connectWorker`: a worker that serves elsewhere. */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { attach, whoWeAre } from "./attach.ts";
import { packageVersion } from "../environment/package.ts";
import { isRunning } from "../environment/processes.ts";
import { BusyError, TorchwireError } from "../errors/errors.ts";
import type { Owned } from "./keyed.ts";
import { fingerprint } from "../keys/key.ts";
import { readProfile } from "../keys/profile.ts";
import { shownPlace } from "../link/address.ts";
import type { FaultKind } from "../link/connection.ts";
import { readGreeting } from "../link/greeting.ts";
import type { Endpoints } from "../link/link.ts";
import type { LinkChange } from "../link/transport.ts";
import { defaultLogger } from "./logger.ts";
import { endpointsOf, targetOf, type Target } from "./target.ts";
import { settingsOf, type WorkerSettings } from "../wire/settings.ts";
import { addToMessage, captureSite, formatSite, shortSite } from "../errors/site.ts";
import { variable } from "../runtime/variables.ts";
import type { Worker } from "../worker.ts";
import { limitsOf } from "../wire/limits.ts";
import type { WireWelcome } from "../wire/schema.ts";

export interface ConnectOptions extends WorkerSettings {
  /**
   * The address of the worker's second port, as "tcp://gpu-box:30556", where a tunnel, a mapped port or Kubernetes has
   * given it another host or number than the next. Default: the profile's, where it has this address, else the next
   * port.
   */
  readonly control?: string;
  /**
   * The name of the profile with the keys, as `npx torchwire keygen` has made it. Default: TORCHWIRE_PROFILE, else the
   * profile with the name of the address's host. Only a worker on this machine's loopback interface needs none.
   */
  readonly profile?: string;
  /** Milliseconds for the worker to answer for the first time. Default 2000. There is no time-out on its work. */
  readonly timeout?: number;
  /** Gets the worker's log records. Default: silent, or a pino logger to stderr at the level TORCHWIRE_LOG. */
  readonly logger?: Logger;
}

const PATIENCE_MS = 2000;
/** A timer cannot count further. */
const LONGEST_PATIENCE_MS = 2 ** 31 - 1;
const AGAIN_MS = 100;
/** A session outlives the worker's grace time by so long: a connection may just be made at its end. */
const MARGIN_MS = 5000;

/**
 * Connects to a worker that `torchwire-worker serve` runs, as in `connectWorker("tcp://gpu-box:5555")`. Gives a worker
 * like that of `spawnWorker`. It serves this client alone, until it is closed, or until the client has been away for
 * longer than the worker's grace time. Default address: TORCHWIRE_WORKER, else the one in the profile. An address may
 * have both ports, with a comma between: "tcp://gpu-box:30555,tcp://gpu-box:30556".
 * @throws UNREACHABLE, REFUSED, BUSY, PROTOCOL, NO_DEVICE, MISUSE.
 */
export async function connectWorker(address?: string, options: ConnectOptions = {}): Promise<Worker> {
  const site = formatSite(captureSite());
  try {
    return (await connect(address ?? variable("TORCHWIRE_WORKER"), options)).worker;
  } catch (error) {
    if (error instanceof TorchwireError && site !== undefined)
      addToMessage(error, `\n(connectWorker at ${shortSite(site)})`);
    throw error;
  }
}

/** `connectWorker` for a caller that keeps several workers: it gives the means to end the worker too. */
export async function connect(asked: string | undefined, options: ConnectOptions): Promise<Owned> {
  const settings = settingsOf("connectWorker", options);
  const { timeout = PATIENCE_MS } = options;
  const start = performance.now();
  if (!(timeout > 0 && timeout <= LONGEST_PATIENCE_MS))
    throw new TorchwireError(
      "MISUSE",
      `connectWorker: timeout is ${String(timeout)}, not milliseconds from 1 to ${LONGEST_PATIENCE_MS}`,
    );
  const named = options.profile ?? variable("TORCHWIRE_PROFILE");
  const known = named === undefined ? undefined : readProfile(named);
  const target = targetOf({ address: asked, control: options.control, known });
  const { profile } = target;
  const endpoints = await endpointsOf(target, timeout / 2);
  const left = timeout - (performance.now() - start);
  let fault: FaultKind | undefined;
  const givesUp = (kind: FaultKind, sinceMs: number, welcome: WireWelcome | undefined): Error | undefined => {
    fault = kind;
    // (An end in the middle of the greeting can mean anything: a key that is not the worker's, or a worker that is busy
    // with another key.)
    if (kind === "refused" || kind === "mechanism") return notLetIn(target, kind);
    if (welcome === undefined) return sinceMs < 0.6 * left ? undefined : new NoAnswer();
    const graceMs = (welcome.grace ?? 0) * 1000;
    if (sinceMs < graceMs + MARGIN_MS) return undefined;
    return new TorchwireError(
      "WORKER_GONE",
      `there has been no link to the worker at ${shownPlace(target)} for ${Math.round(sinceMs / 1000)} s: it drops a client that is away for longer than ${welcome.grace} s, and this session with it`,
    );
  };
  const how = {
    endpoints,
    curve: profile && { server: profile.server.public, ...profile.client },
    token: randomBytes(32).toString("hex"),
    settings,
    limits: limitsOf(options.limits ?? {}),
    logger: options.logger ?? defaultLogger(),
    version: packageVersion(),
    timeout: left,
    over: "network",
    givesUp,
  } as const;
  for (let replaces: string | undefined; ;) {
    try {
      const owned = await attach({ ...how, replaces });
      owned.worker.onLink((change) => tellOfCut(target, change));
      return owned;
    } catch (error) {
      if (error instanceof NoAnswer) throw await whyNoAnswer(target, endpoints, fault);
      if (error instanceof TorchwireError && error.code === "PROTOCOL" && target.isSaid)
        addToMessage(
          error,
          `\n(data: ${target.data.url}, control: ${target.control.url}. Are these the two ports of one worker, and in this order?)`,
        );
      replaces = error instanceof BusyError ? endedHolder(error) : undefined;
      // (The worker may not have noticed yet that its client is gone.)
      if (replaces === undefined || performance.now() - start > timeout - AGAIN_MS) throw error;
      await delay(AGAIN_MS);
    }
  }
}

/**
 * The process that has the worker, if it was this user's on this very machine and has ended: it was killed, say, or
 * ended by Ctrl-C.
 */
function endedHolder({ holder }: BusyError): string | undefined {
  const { pid, ...we } = whoWeAre();
  if (holder === undefined || Object.entries(we).some(([name, ours]) => holder[name] !== ours)) return undefined;
  const other = String(holder["pid"]);
  return /^[1-9]\d*$/.test(other) && other !== pid && !isRunning(Number(other)) ? other : undefined;
}

/** Warns of a cut: without a word the program would seem to hang. */
function tellOfCut(target: Target, { state, reason }: LinkChange): void {
  if (state === "connecting")
    process.emitWarning(
      `the link to the worker at ${shownPlace(target)} is cut (${reason}): it is being made again, and nothing is lost`,
      {
        type: "TorchwireWarning",
      },
    );
}

/** `whyNoAnswer` finds the error that takes its place. */
class NoAnswer extends Error {}

function notLetIn(target: Target, fault: FaultKind): TorchwireError {
  const { profile } = target;
  const worker = `the worker at ${shownPlace(target)}`;
  if (fault === "refused")
    return new TorchwireError(
      "REFUSED",
      `${worker} does not let in the key of the profile ${profile?.name} (${profile && fingerprint(profile.client.public)}): ` +
        "it is not, or not any more, in authorized_clients of the worker's --keys folder. There: torchwire-worker clients --keys DIR",
    );
  return profile === undefined
    ? new TorchwireError(
        "REFUSED",
        `${worker} wants a key: name the profile that has it, connectWorker(address, { profile: "…" }) or TORCHWIRE_PROFILE. (npx torchwire keygen makes one.)`,
      )
    : new TorchwireError(
        "REFUSED",
        `${worker} has no keys, and would be spoken to in the clear: start it with --keys DIR. (Nothing was sent.)`,
      );
}

/** Asks once more by plain TCP why nobody answers: ZeroMQ itself says little. */
async function whyNoAnswer(
  target: Target,
  endpoints: Endpoints,
  fault: FaultKind | undefined,
): Promise<TorchwireError> {
  const { data, control, isSaid, profile } = target;
  const places = isSaid
    ? [`${data.url} (for data; control is ${control.url})`, `${control.url} (for control; data is ${data.url})`]
    : [data.url, `${data.url} (its second port, ${control.port})`];
  for (const [i, endpoint] of [endpoints.data, endpoints.control].entries()) {
    const greeting = await readGreeting(endpoint, 300);
    const unreachable = (what: string): TorchwireError => new TorchwireError("UNREACHABLE", `${places[i]}: ${what}`);
    if ("failure" in greeting) {
      switch (greeting.failure) {
        case "refused":
          return unreachable(
            `nobody listens there. Does torchwire-worker serve run there, on this port, and bound to an address that can be reached from here?${isSaid ? " Do the tunnels or mapped ports lead to its two ports?" : ""}`,
          );
        case "name":
        case "unreachable":
          return unreachable(greeting.detail);
        case "silent":
          return unreachable(
            `no answer. Does a firewall drop the packets (two ports are needed${isSaid ? "" : ", this one and the next"}), or is the worker stopped or too busy to greet?`,
          );
        case "closed":
        case "foreign":
          // A tunnel closes what it takes where its other end leads nowhere.
          if (isSaid && greeting.failure === "closed")
            return unreachable(`${greeting.detail}. Does it lead to a worker that runs?`);
          return new TorchwireError(
            "PROTOCOL",
            `${places[i]}: something else than a torchwire worker listens there (${greeting.detail})`,
          );
      }
    }
    const hasKeys = greeting.mechanism === "CURVE";
    if (hasKeys !== (profile !== undefined)) return notLetIn(target, "mechanism");
  }
  if (fault === "dropped" && profile !== undefined)
    return new TorchwireError(
      "REFUSED",
      `the worker at ${shownPlace(target)} is not the one that the profile ${profile.name} knows: its key is not ${fingerprint(profile.server.public)}. ` +
        "Was it set up anew, or does somebody stand between? There: torchwire-worker clients --keys DIR says its key.",
    );
  return new TorchwireError(
    "UNREACHABLE",
    `${shownPlace(target)}: it is there, but did not answer in time; connectWorker(address, { timeout }) waits longer`,
  );
}
