/** Checks the chain to a worker elsewhere: the profile, both ports, the keys, a round trip. */

import { setTimeout as delay } from "node:timers/promises";
import { EnvironmentError, TorchwireError } from "../errors/errors.ts";
import { fingerprint } from "../keys/key.ts";
import { hasProfile, readProfile, type Profile } from "../keys/profile.ts";
import { isSamePort, readAddress, readPlace, type Address, type Place } from "../link/address.ts";
import { readGreeting, type Failure } from "../link/greeting.ts";
import { failed, type Finding, firstLineOf, ok, skipped, warning } from "./check.ts";
import { checkMsgpackr, checkNode, checkZeromq } from "./machine.ts";

export type Say = (name: string, finding: Finding) => void;
export type Waiting = <T>(what: string, work: () => Promise<T>) => Promise<T>;

/** `asked`: a profile's name, or a worker's address, or its two with a comma between. */
export async function examineWorker(asked: string, env: NodeJS.ProcessEnv, say: Say, waiting: Waiting): Promise<void> {
  say("node", checkNode());
  const zeromq = await checkZeromq();
  say("zeromq", zeromq);
  const msgpackr = await checkMsgpackr();
  say("msgpackr", msgpackr);

  const { profile, place, finding } = find(asked, env);
  say("profile", finding);
  const dependent = ["data-port", "control-port", "round-trip"];
  if (place === undefined) {
    for (const name of dependent) say(name, skipped("it is not known where the worker is"));
    return;
  }
  const findings = await waiting("asking both ports", () =>
    Promise.all([place.data, place.control].map((port) => checkPort(port, profile, place))),
  );
  for (const [i, port] of findings.entries()) say(dependent[i]!, port);
  const broken = [zeromq, msgpackr, finding, ...findings].some(({ status }) => status === "failed");
  if (broken) say("round-trip", skipped("what it needs fails"));
  else say("round-trip", await waiting("connecting", () => roundTrip(place, profile)));
}

interface Found {
  readonly profile?: Profile;
  readonly place?: Place | undefined;
  readonly finding: Finding;
}

function find(asked: string, env: NodeJS.ProcessEnv): Found {
  const given = readPlace(asked);
  try {
    if (given !== undefined) {
      const host = [given.data, given.control].find(({ isLoopback }) => !isLoopback)?.host ?? given.data.host;
      const name = env.TORCHWIRE_PROFILE || (hasProfile(host, env) ? host : undefined);
      if (name === undefined) return { place: given, finding: ok(`none for ${host}`) };
      const profile = readProfile(name, env);
      const isIts = profile.address !== undefined && isSamePort(readAddress(profile.address)!, given.data);
      const place = isIts && !given.isSaid ? readPlace(profile.address, profile.control) : given;
      return { profile, place, finding: ok(described(profile)) };
    }
    const profile = readProfile(asked, env);
    const place = profile.address === undefined ? undefined : readPlace(profile.address, profile.control);
    if (place !== undefined) return { profile, place, finding: ok(described(profile)) };
    const command = `TORCHWIRE_PROFILE=${asked} npx torchwire doctor --worker tcp://HOST:5555`;
    return { finding: failed(`${profile.path} does not say where the worker is`, command) };
  } catch (error) {
    if (!(error instanceof TorchwireError)) throw error;
    const command = error instanceof EnvironmentError ? error.command : undefined;
    return { ...(given === undefined ? {} : { place: given }), finding: failed(firstLineOf(error), command) };
  }
}

const described = ({ path, server, client }: Profile): string =>
  `${path}\nserver ${fingerprint(server.public)}\nclient ${fingerprint(client.public)}`;

/** `port`: one of the two in `place`. */
async function checkPort(port: Address, profile: Profile | undefined, place: Place): Promise<Finding> {
  const address = port.url;
  let greeting = await readGreeting(address);
  // When a client leaves, its worker's process ends, and for a moment nobody listens. (A tunnel takes a connection even
  // so, and closes it.)
  for (let i = 0; i < 10 && "failure" in greeting && /^(?:refused|closed)$/.test(greeting.failure); i++) {
    await delay(300);
    greeting = await readGreeting(address);
  }
  if ("failure" in greeting) return failed(greeting.detail, mends(greeting.failure, port, place));
  const encrypted = greeting.mechanism === "CURVE";
  if (encrypted && profile === undefined)
    return failed(`${address} wants keys, and there is no profile`, "npx torchwire keygen NAME");
  if (!encrypted && profile !== undefined)
    return failed(
      `what answers at ${address} has no keys; with a profile nothing is said in the clear`,
      "torchwire-worker serve --keys DIR",
    );
  return ok(`${address} answers, ${encrypted ? "and wants keys" : "without keys: nothing is encrypted"}`);
}

function mends(failure: Failure, { host }: Address, { data, isSaid }: Place): string | undefined {
  if (failure === "name") return `getent hosts ${host}`;
  // (A port that was moved is another one where the worker listens.)
  if (failure === "refused") return isSaid ? undefined : `torchwire-worker serve --bind ${data.url} --keys DIR`;
  return failure === "silent" || failure === "unreachable" ? `ping ${host}` : undefined;
}

async function roundTrip({ data, control, isSaid }: Place, profile: Profile | undefined): Promise<Finding> {
  try {
    const { connectWorker } = await import("../start/connect.ts");
    const named = { ...(profile && { profile: profile.name }), ...(isSaid && { control: control.url }) };
    const worker = await connectWorker(data.url, { ...named, timeout: 10_000 });
    try {
      const ask = (): PromiseLike<unknown> =>
        worker
          .tensor(new Float32Array([1, 2, 3]))
          .sum()
          .item();
      const sum = await ask();
      if (sum !== 6) return failed(`the worker says that 1 + 2 + 3 is ${String(sum)}`);
      const start = performance.now();
      await ask();
      const took = (performance.now() - start).toFixed(1);
      return ok(`a worker on ${worker.device} lets us in and answers, in ${took} ms; torch ${worker.versions.torch}`);
    } finally {
      await worker.close();
    }
  } catch (error) {
    if (!(error instanceof TorchwireError)) throw error;
    // It says who has the worker: so the whole chain works.
    if (error.code === "BUSY") return warning(firstLineOf(error));
    return failed(error.message, error.code === "REFUSED" ? "torchwire-worker clients --keys DIR" : undefined);
  }
}
