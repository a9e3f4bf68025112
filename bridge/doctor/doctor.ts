/** Checks every link of the chain from Node to a worker, and names the command that mends a broken one. */

import { lookForPython, type Place, type Python } from "../environment/find.ts";
import { packageVersion } from "../environment/package.ts";
import { compareToSupported, newestPython, oldestPython, probe } from "../environment/probe.ts";
import { duration, type Output, progressOn } from "../environment/progress.ts";
import { EnvironmentError } from "../errors/errors.ts";
import { messageOf } from "../runtime/kinds.ts";
import { printable } from "../errors/shown.ts";
import { type Check, failed, type Finding, firstLineOf, ok, skipped, warning } from "./check.ts";
import * as machine from "./machine.ts";
import { checkDevice, checkPackage, checkTorchvision, inspect, type Inspected, type Installer } from "./packages.ts";
import { examineWorker, type Say, type Waiting } from "./worker.ts";

export interface DoctorOptions {
  /** The interpreter, as `spawnWorker` takes it. */
  python?: string | undefined;
  /** The worker to check, elsewhere: a profile's name, or an address. Default: one on this machine. */
  worker?: string | undefined;
  /** One line of JSON instead of text: `{ torchwire, ok, checks }`. */
  json?: boolean | undefined;
  env?: NodeJS.ProcessEnv | undefined;
  output?: Output | undefined;
}

/** Prints what it finds; resolves to whether nothing fails. */
export async function doctor(options: DoctorOptions = {}): Promise<boolean> {
  const output = options.output ?? process.stdout;
  const checks: Check[] = [];
  const progress = progressOn(process.stderr, options.env);
  const print = (check: Check): void => {
    checks.push(check);
    progress.close();
    if (!options.json) output.write(lines(check));
  };
  if (!options.json) output.write(`torchwire ${packageVersion()}\n`);
  const waiting: Waiting = async (what, work) => {
    const start = performance.now();
    const show = (): void => progress.live(`  ${what}: ${duration(performance.now() - start)}`);
    // Plain output needs no live line: the findings follow soon.
    const timer = process.stderr.isTTY && !options.json ? setInterval(show, 200) : undefined;
    return work().finally(() => clearInterval(timer));
  };
  const say = (name: string, finding: Finding): void => print({ name, ...finding });
  if (options.worker === undefined) await examine(options, say, waiting);
  else await examineWorker(options.worker, options.env ?? process.env, say, waiting);
  const broken = checks.filter(({ status }) => status === "failed");
  if (options.json) {
    output.write(`${JSON.stringify({ torchwire: packageVersion(), ok: broken.length === 0, checks }, undefined, 2)}\n`);
  } else output.write(broken.length === 0 ? "Everything that is needed works.\n" : `${broken.length} failed.\n`);
  return broken.length === 0;
}

const marks = { ok: "ok", warning: "warn", failed: "FAIL", skipped: "-" };

function lines({ name, status, detail, command }: Check): string {
  const [first = "", ...more] = printable(detail).split("\n");
  const rest = command === undefined ? more : [...more, `Run: ${command}`];
  const indent = " ".repeat(25);
  return [`  ${marks[status].padEnd(5)} ${name.padEnd(16)} ${first}`, ...rest.map((line) => indent + line), ""].join(
    "\n",
  );
}

async function examine(options: DoctorOptions, say: Say, waiting: Waiting): Promise<void> {
  const env = options.env ?? process.env;
  say("node", machine.checkNode());
  const zeromq = await machine.checkZeromq();
  say("zeromq", zeromq);
  say("msgpackr", await machine.checkMsgpackr());
  say("temporary-folder", machine.checkTemporary(env));
  say("sockets", machine.checkSockets());
  say("shared-memory", machine.checkSharedMemory());

  const { python, finding } = await findInterpreter(options, env);
  say("disk", machine.checkDisk(env, python === undefined));
  say("python", finding);
  const dependent = ["pyzmq", "msgspec", "numpy", "torch", "torchvision", "device", "round-trip"];
  if (python === undefined) {
    for (const name of dependent) say(name, skipped("there is no interpreter to ask"));
    return;
  }
  const found = await waiting("importing PyTorch", () => inspect(python.executable, env));
  const install = installerFor(python, found);
  const needed = ["pyzmq", "msgspec", "numpy", "torch"].map((name) => {
    const check = checkPackage(name, found, install, name !== "numpy");
    say(name, check);
    return check;
  });
  const safetensors = checkPackage("safetensors", found, install, false);
  // Only its absence is told: one feature alone needs it.
  if (safetensors.status !== "ok")
    say("safetensors", {
      ...safetensors,
      status: "warning",
      detail: `${safetensors.detail}: the worker cannot read checkpoints on its own disk`,
    });
  say("torchvision", checkTorchvision(found, install));
  say("device", checkDevice(found));
  if ([zeromq, ...needed].some(({ status }) => status === "failed")) say("round-trip", skipped("what it needs fails"));
  else say("round-trip", await waiting("starting a worker", () => roundTrip(python.executable, env)));
}

async function findInterpreter(
  { python: asked }: DoctorOptions,
  env: NodeJS.ProcessEnv,
): Promise<{ python?: Python; finding: Finding }> {
  try {
    const { python, looked } = await lookForPython({ python: asked, env });
    if (python === undefined) return { finding: failed(`none was found\n${listing(looked)}`, "npx torchwire setup") };
    const answer = await probe(python.executable, [], env);
    if ("failure" in answer) {
      return { finding: failed(`${python.executable} does not run: ${answer.failure}`, "npx torchwire setup") };
    }
    const how = { option: "it was asked for", managed: "the managed environment" };
    const why = python.source in how ? how[python.source as keyof typeof how] : `from ${python.source}`;
    // Once there is one, places that are merely not given are of no interest.
    const refused = looked.filter(({ reason }) => !reason.startsWith("not "));
    const detail = [
      `${answer.version}, ${python.executable} (${why})`,
      ...(refused.length > 0 ? [listing(refused)] : []),
    ];
    const place = compareToSupported(answer.version);
    if (place < 0)
      return { finding: failed(`${detail[0]}; ${oldestPython} is the oldest that serves`, "npx torchwire setup") };
    if (place > 0) return { python, finding: warning(`${detail[0]}; ${newestPython} is the newest that is tested`) };
    return { python, finding: ok(detail.join("\n")) };
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    return { finding: failed(firstLineOf(error), error.command) };
  }
}

function listing(places: readonly Place[]): string {
  return places.map(({ name, reason }) => `${name}: ${reason}`).join("\n");
}

function installerFor({ executable, source }: Python, { pip }: Inspected): Installer {
  if (source === "managed") return () => "npx torchwire setup --clean --all && npx torchwire setup";
  const [install, anew] = pip
    ? [`${executable} -m pip install`, "--force-reinstall"]
    : [`uv pip install --python ${executable}`, "--reinstall"];
  return (...packages) =>
    `${install} ${anew} ${packages.map((name) => (/[=*]/.test(name) ? `"${name}"` : name)).join(" ")}`;
}

async function roundTrip(python: string, env: NodeJS.ProcessEnv): Promise<Finding> {
  try {
    const { spawnWorker } = await import("../start/spawn.ts");
    const start = performance.now();
    const worker = await spawnWorker({ python, env: env as Record<string, string> });
    const started = duration(performance.now() - start);
    try {
      const sum = await worker
        .tensor(new Float32Array([1, 2, 3]))
        .sum()
        .item();
      if (sum !== 6) return failed(`a worker says that 1 + 2 + 3 is ${sum}`);
      return ok(`a worker on ${worker.device} started in ${started} and answers`);
    } finally {
      await worker.close();
    }
  } catch (error) {
    const command = error instanceof EnvironmentError ? error.command : undefined;
    return failed(messageOf(error), command ?? "TORCHWIRE_LOG=debug npx torchwire doctor");
  }
}
