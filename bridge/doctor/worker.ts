/** Checks the chain to a worker elsewhere: the profile, both ports, the keys, a round trip. */

import { setTimeout as delay } from "node:timers/promises";
import { EnvironmentError, TorchwireError } from "../errors/errors.ts";
import { fingerprint } from "../keys/key.ts";
import { hasProfile, isWorkerAddress, readProfile, type Profile } from "../keys/profile.ts";
import { readGreeting, type Failure } from "../link/greeting.ts";
import { failed, type Finding, firstLineOf, ok, skipped, warning } from "./check.ts";
import { checkMsgpackr, checkNode, checkZeromq } from "./machine.ts";

export type Say = (name: string, finding: Finding) => void;
export type Waiting = <T>(what: string, work: () => Promise<T>) => Promise<T>;

/** `asked`: a profile's name, or an address. */
export async function examineWorker(asked: string, env: NodeJS.ProcessEnv, say: Say, waiting: Waiting): Promise<void> {
  say("node", checkNode());
  const zeromq = await checkZeromq();
  say("zeromq", zeromq);
  const msgpackr = await checkMsgpackr();
  say("msgpackr", msgpackr);

  const { profile, address, finding } = find(asked, env);
  say("profile", finding);
  const dependent = ["data-port", "control-port", "round-trip"];
  if (address === undefined) {
    for (const name of dependent) say(name, skipped("it is not known where the worker is"));
    return;
  }
  const ports = [address, nextPort(address)];
  const findings = await waiting("asking both ports", () =>
    Promise.all(ports.map((port) => checkPort(port, profile, address))),
  );
  for (const [i, port] of findings.entries()) say(dependent[i]!, port);
  const broken = [zeromq, msgpackr, finding, ...findings].some(({ status }) => status === "failed");
  if (broken) say("round-trip", skipped("what it needs fails"));
  else say("round-trip", await waiting("connecting", () => roundTrip(address, profile)));
}

function find(asked: string, env: NodeJS.ProcessEnv): { profile?: Profile; address?: string; finding: Finding } {
  const given = isWorkerAddress(asked) ? asked : undefined;
  try {
    if (given !== undefined) {
      const host = given.replace(/^tcp:\/\/|:\d+$/g, "");
      const name = env.TORCHWIRE_PROFILE || (hasProfile(host, env) ? host : undefined);
      if (name === undefined) return { address: given, finding: ok(`none for ${host}`) };
      const profile = readProfile(name, env);
      return { profile, address: given, finding: ok(described(profile)) };
    }
    const profile = readProfile(asked, env);
    if (profile.address !== undefined) return { profile, address: profile.address, finding: ok(described(profile)) };
    const command = `TORCHWIRE_PROFILE=${asked} npx torchwire doctor --worker tcp://HOST:5555`;
    return { finding: failed(`${profile.path} does not say where the worker is`, command) };
  } catch (error) {
    if (!(error instanceof TorchwireError)) throw error;
    const command = error instanceof EnvironmentError ? error.command : undefined;
    return { ...(given === undefined ? {} : { address: given }), finding: failed(firstLineOf(error), command) };
  }
}

const described = ({ path, server, client }: Profile): string =>
  `${path}\nserver ${fingerprint(server.public)}\nclient ${fingerprint(client.public)}`;

const nextPort = (address: string): string => address.replace(/\d+$/, (port) => String(Number(port) + 1));

/** `worker`: the address where it must listen, with the first of its two ports. */
async function checkPort(address: string, profile: Profile | undefined, worker: string): Promise<Finding> {
  let greeting = await readGreeting(address);
  // When a client leaves, its worker's process ends, and for a moment nobody listens.
  for (let i = 0; i < 10 && "failure" in greeting && greeting.failure === "refused"; i++) {
    await delay(300);
    greeting = await readGreeting(address);
  }
  if ("failure" in greeting) return failed(greeting.detail, mends(greeting.failure, worker));
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

function mends(failure: Failure, address: string): string | undefined {
  const host = address.replace(/^tcp:\/\/|:\d+$/g, "");
  if (failure === "name") return `getent hosts ${host}`;
  if (failure === "refused") return `torchwire-worker serve --bind ${address} --keys DIR`;
  return failure === "silent" || failure === "unreachable" ? `ping ${host}` : undefined;
}

async function roundTrip(address: string, profile: Profile | undefined): Promise<Finding> {
  try {
    const { connectWorker } = await import("../start/connect.ts");
    const named = profile === undefined ? {} : { profile: profile.name };
    const worker = await connectWorker(address, { ...named, timeout: 10_000 });
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
