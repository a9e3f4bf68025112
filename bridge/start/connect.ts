/** `connectWorker`: a worker that serves elsewhere. */
import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { isIPv4 } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { attach, whoWeAre } from "./attach.ts";
import { packageVersion } from "../environment/package.ts";
import { isRunning } from "../environment/processes.ts";
import { codeOf } from "../environment/untyped.ts";
import { BusyError, TorchwireError } from "../errors/errors.ts";
import type { Owned } from "./keyed.ts";
import { fingerprint } from "../keys/key.ts";
import { hasProfile, readProfile, type Profile } from "../keys/profile.ts";
import type { FaultKind } from "../link/connection.ts";
import { readGreeting } from "../link/greeting.ts";
import type { Endpoints } from "../link/link.ts";
import type { LinkChange } from "../link/transport.ts";
import { defaultLogger } from "./logger.ts";
import { settingsOf, type WorkerSettings } from "../wire/settings.ts";
import { addToMessage, captureSite, formatSite, shortSite } from "../errors/site.ts";
import { variable } from "../runtime/variables.ts";
import type { Worker } from "../worker.ts";
import { limitsOf } from "../wire/limits.ts";
import type { WireWelcome } from "../wire/schema.ts";

export interface ConnectOptions extends WorkerSettings {
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
 * longer than the worker's grace time. Default address: TORCHWIRE_WORKER, else the one in the profile.
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
  const target = addressOf(asked ?? known?.address);
  const profile = known ?? (target.isLoopback ? undefined : profileOf(target));
  const endpoints = await endpointsOf(target, timeout / 2);
  const left = timeout - (performance.now() - start);
  let fault: FaultKind | undefined;
  const givesUp = (kind: FaultKind, sinceMs: number, welcome: WireWelcome | undefined): Error | undefined => {
    fault = kind;
    // (An end in the middle of the greeting can mean anything: a key that is not the worker's, or a worker that is busy
    // with another key.)
    if (kind === "refused" || kind === "mechanism") return notLetIn(target, kind, profile);
    if (welcome === undefined) return sinceMs < 0.6 * left ? undefined : new NoAnswer();
    const graceMs = (welcome.grace ?? 0) * 1000;
    if (sinceMs < graceMs + MARGIN_MS) return undefined;
    return new TorchwireError(
      "WORKER_GONE",
      `there has been no link to the worker at ${target.url} for ${Math.round(sinceMs / 1000)} s: it drops a client that is away for longer than ${welcome.grace} s, and this session with it`,
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
      if (error instanceof NoAnswer) throw await whyNoAnswer(target, endpoints, fault, profile);
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
function tellOfCut({ url }: Target, { state, reason }: LinkChange): void {
  if (state === "connecting")
    process.emitWarning(
      `the link to the worker at ${url} is cut (${reason}): it is being made again, and nothing is lost`,
      {
        type: "TorchwireWarning",
      },
    );
}

/** `whyNoAnswer` finds the error that takes its place. */
class NoAnswer extends Error {}

interface Target {
  /** The address as it was given. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly isLoopback: boolean;
}

function addressOf(url: string | undefined): Target {
  if (url === undefined)
    throw new TorchwireError(
      "MISUSE",
      'connectWorker: no address was given, TORCHWIRE_WORKER is not set, and no profile that has one is named; as in connectWorker("tcp://gpu-box:5555")',
    );
  const [, host = "", digits = ""] = /^tcp:\/\/(\[[^\]]+\]|[^:/[\]]+):(\d{1,5})$/.exec(url) ?? [];
  const port = Number(digits);
  if (host === "" || port < 1 || port > 65_534)
    throw new TorchwireError(
      "MISUSE",
      `connectWorker: the address is ${JSON.stringify(url)}, not one as in tcp://gpu-box:5555`,
    );
  // (127.example.org is a name like any other.)
  const isLoopback = host === "localhost" || host === "[::1]" || (isIPv4(host) && host.startsWith("127."));
  return { url, host, port, isLoopback };
}

/**
 * The endpoints by number. libzmq would look a name up on the one thread that carries all links of this process, and
 * hold them up meanwhile.
 */
async function endpointsOf({ url, host, port }: Target, patience: number): Promise<Endpoints> {
  const at = (address: string): Endpoints => ({
    data: `tcp://${address}:${port}`,
    control: `tcp://${address}:${port + 1}`,
  });
  if (host.startsWith("[") || isIPv4(host)) return at(host);
  const noMachine = (why: string): TorchwireError =>
    new TorchwireError("UNREACHABLE", `${url}: no machine of the name ${host} is known: ${why}`);
  const stop = new AbortController();
  try {
    const addresses = await Promise.race([
      lookup(host, { all: true }),
      delay(patience, undefined, { signal: stop.signal }),
    ]);
    if (addresses === undefined)
      throw noMachine(`no answer within ${patience / 1000} s to the question which address it has`);
    const { address, family } = addresses.find((each) => each.family === 4) ?? addresses[0]!;
    return at(family === 4 ? address : `[${address}]`);
  } catch (error) {
    throw error instanceof TorchwireError ? error : noMachine(codeOf(error) || String(error));
  } finally {
    stop.abort();
  }
}

/** The profile with the keys for a host elsewhere. */
function profileOf({ host }: Target): Profile {
  if (hasProfile(host)) return readProfile(host);
  throw new TorchwireError(
    "REFUSED",
    `there are no keys for ${host}: a worker elsewhere is spoken to only encrypted, by keys that know each other. ` +
      `Make them with: npx torchwire keygen ${host}\nor name the profile that has them: connectWorker(address, { profile: "…" }), or TORCHWIRE_PROFILE.`,
  );
}

function notLetIn({ url }: Target, fault: FaultKind, profile: Profile | undefined): TorchwireError {
  if (fault === "refused")
    return new TorchwireError(
      "REFUSED",
      `the worker at ${url} does not let in the key of the profile ${profile?.name} (${profile && fingerprint(profile.client.public)}): ` +
        "it is not, or not any more, in authorized_clients of the worker's --keys folder. There: torchwire-worker clients --keys DIR",
    );
  return profile === undefined
    ? new TorchwireError(
        "REFUSED",
        `the worker at ${url} wants a key: name the profile that has it, connectWorker(address, { profile: "…" }) or TORCHWIRE_PROFILE. (npx torchwire keygen makes one.)`,
      )
    : new TorchwireError(
        "REFUSED",
        `the worker at ${url} has no keys, and would be spoken to in the clear: start it with --keys DIR. (Nothing was sent.)`,
      );
}

/** Asks once more by plain TCP why nobody answers: ZeroMQ itself says little. */
async function whyNoAnswer(
  target: Target,
  endpoints: Endpoints,
  fault: FaultKind | undefined,
  profile: Profile | undefined,
): Promise<TorchwireError> {
  const { url, port } = target;
  for (const endpoint of [endpoints.data, endpoints.control]) {
    const greeting = await readGreeting(endpoint, 300);
    const where = `${url}${endpoint === endpoints.data ? "" : ` (its second port, ${port + 1})`}`;
    const unreachable = (what: string): TorchwireError => new TorchwireError("UNREACHABLE", `${where}: ${what}`);
    if ("failure" in greeting) {
      switch (greeting.failure) {
        case "refused":
          return unreachable(
            "nobody listens there. Does torchwire-worker serve run there, on this port, and bound to an address that can be reached from here?",
          );
        case "name":
        case "unreachable":
          return unreachable(greeting.detail);
        case "silent":
          return unreachable(
            "no answer. Does a firewall drop the packets (two ports are needed, this one and the next), or is the worker stopped or too busy to greet?",
          );
        case "closed":
        case "foreign":
          return new TorchwireError(
            "PROTOCOL",
            `${where}: something else than a torchwire worker listens there (${greeting.detail})`,
          );
      }
    }
    const hasKeys = greeting.mechanism === "CURVE";
    if (hasKeys !== (profile !== undefined)) return notLetIn(target, "mechanism", profile);
  }
  if (fault === "dropped" && profile !== undefined)
    return new TorchwireError(
      "REFUSED",
      `the worker at ${url} is not the one that the profile ${profile.name} knows: its key is not ${fingerprint(profile.server.public)}. ` +
        "Was it set up anew, or does somebody stand between? There: torchwire-worker clients --keys DIR says its key.",
    );
  return new TorchwireError(
    "UNREACHABLE",
    `${url}: it is there, but did not answer in time; connectWorker(address, { timeout }) waits longer`,
  );
}
