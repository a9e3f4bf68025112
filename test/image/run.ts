/**
 * Runs the worker from an image that was built, and trains through it. Arguments: the image's file system, the file
 * with its settings (as `buildah inspect` prints them), and further mounts as SOURCE:TARGET. Says what it looked at;
 * throws at the first thing that is not as it should be.
 */
import assert from "node:assert/strict";
import { chown, mkdir, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { connectWorker, py, spawnWorker, type Worker } from "torchwire";
import { allBatches, makeTraining, rgbDigits } from "../training.ts";
import { run, type Config, type Container, type Health, type Image, type Mount } from "./container.ts";

const address = "tcp://127.0.0.1:5555";
const settings = { device: "cpu", seed: 0, deterministic: true, threads: 1 } as const;

const [root, inspected, ...more] = process.argv.slice(2);
const { Docker } = JSON.parse(await readFile(inspected!, "utf8")) as { Docker: { config: Config } };
const folder = await mkdtemp(join(tmpdir(), "torchwire-container-"));
process.env["TORCHWIRE_CONFIG"] = join(folder, "config");
const mount = (name: string, write: boolean): Mount => ({ source: join(folder, name), target: `/${name}`, write });
const owner = Number(Docker.config.User.split(":")[0]);
for (const name of ["keys", "cache", "data"]) {
  await mkdir(join(folder, name), { mode: 0o700 });
  await chown(join(folder, name), owner, owner);
}
const further = more.map((each): Mount => {
  const [source, target] = each.split(":");
  return { source: source!, target: target!, write: false };
});
const image: Image = {
  root: root!,
  config: Docker.config,
  mounts: [mount("cache", true), mount("data", true), ...further],
};
// The worker's files, seen from outside.
const site = "/opt/torchwire/lib/python3.11/site-packages";
const packages = further.find(({ target }) => target === site)?.source ?? join(image.root, site);

try {
  await refuses();
  await authorize();
  await using container = await run(image, { mounts: [mount("keys", false)] });
  await until(container, "healthy", 120);
  await locked(container);
  await trains(container);
  await compiles(container);
  await survives(container);
  await stops(container);
} finally {
  await rm(folder, { recursive: true });
}

async function refuses(): Promise<void> {
  await using container = await run(image);
  const { exitCode } = await container.exited;
  assert.equal(exitCode, 2, container.output());
  assert.match(container.output(), /keygen/);
  say("without keys it refuses to start, and says what makes them");
}

async function authorize(): Promise<void> {
  const cli = fileURLToPath(new URL("../../bridge/cli.ts", import.meta.url));
  const { stdout: half } = await execa("npx", [
    "tsx",
    "--conditions=torchwire-source",
    cli,
    "keygen",
    "box",
    "--as",
    "laptop",
    "--address",
    address,
  ]);
  await using container = await run(image, {
    args: ["authorize", "--keys", "/keys"],
    mounts: [mount("keys", true)],
    input: half,
  });
  const { exitCode } = await container.exited;
  assert.equal(exitCode, 0, container.output());
  say("authorize in a container took in what keygen printed");
}

async function locked(container: Container): Promise<void> {
  const all = await container.processes();
  assert.match(all[0]!.command, /^tini /);
  assert.ok(all.length >= 3, "tini, the supervisor and a worker");
  for (const { command, status } of all) {
    const { Uid, CapEff, CapBnd, NoNewPrivs } = status;
    assert.deepEqual(
      { user: Uid!.split("\t")[0], CapEff, CapBnd, NoNewPrivs },
      { user: String(owner), CapEff: "0000000000000000", CapBnd: "0000000000000000", NoNewPrivs: "1" },
      command,
    );
  }
  for (const path of ["/x", "/opt/x", "/keys/x", "/etc/x"])
    assert.notEqual((await container.exec(["touch", path])).exitCode, 0, `${path} could be written`);
  for (const path of ["/data/x", "/cache/x", "/tmp/x", "/dev/shm/x"])
    assert.equal((await container.exec(["touch", path])).exitCode, 0, `${path} could not be written`);
  say(`${all.length} processes: not root, no capabilities, no new privileges; the root and the keys are read-only`);
}

async function losses(worker: Worker): Promise<number[]> {
  const { step } = makeTraining(worker, "cnn", 1e-3);
  const data = await rgbDigits(320);
  const found: number[] = [];
  for (const batch of allBatches(data, 32, 0)) found.push(await step(batch).item());
  return found;
}

async function trains(container: Container): Promise<void> {
  await using remote = await connectWorker(address, { profile: "box", ...settings });
  await using spawned = await spawnWorker(settings);
  const [there, here] = [await losses(remote), await losses(spawned)];
  assert.equal(there.length, 10);
  assert.ok(there.at(-1)! < there[0]!);
  assert.deepEqual(there, here);
  assert.equal(await container.health(), "healthy");
  say(
    `trained 10 steps over CURVE, loss ${there[0]!.toFixed(3)} to ${there.at(-1)!.toFixed(3)}: as with a spawned worker, bit for bit`,
  );
  await hasPackages(remote, spawned);

  // A call that holds Python's lock, so that its process answers nothing.
  const busy = remote.import("ctypes").PyDLL(null).sleep(8);
  const seen: Health[] = [];
  for (let i = 0; i < 3; i++) {
    await pause(2);
    seen.push(await container.health());
  }
  assert.deepEqual(new Set(seen), new Set<Health>(["healthy"]));
  await busy;
  say("healthy while it is busy");
}

async function compiles(container: Container): Promise<void> {
  await using worker = await connectWorker(address, { profile: "box", ...settings });
  const torch = worker.import("torch");
  const model = torch.nn.Linear(4, 3);
  const compiled = torch.compile(model);
  const x = torch.ones([2, 4]);
  assert.ok(await torch.allclose(compiled(x), model(x)));
  assert.equal((await container.exec(["sh", "-c", "ls /cache/inductor | grep -q ."])).exitCode, 0);
  say("torch.compile found its compilers, and a place for what they made");
}

/** What the build argument PACKAGES named, beside the versions of the lock; and the way to more. */
async function hasPackages(worker: Worker, spawned: Worker): Promise<void> {
  const [torch, einops] = [worker.import("torch"), worker.import("einops")];
  const x = torch.arange(6).reshape(2, 3);
  assert.ok(await torch.equal(einops["rearrange"](x, "a b -> b a") as never, x.t()));
  const version = (one: Worker): Promise<string> => py.str(one.import("torch").__version__);
  assert.equal(await version(worker), await version(spawned));
  await assert.rejects(async () => void (await worker.import("umap").UMAP), /--build-arg PACKAGES=umap-learn/);
  say("einops is there by the build argument PACKAGES, torch is the lock's, and what is missing names that argument");
}

async function survives(container: Container): Promise<void> {
  await until(container, "healthy", 60);
  const workers = async (): Promise<number[]> =>
    (await container.processes()).filter(({ command }) => command.includes("__main__.py")).map(({ pid }) => pid);
  const before = await workers();
  for (const pid of before) kill(pid);
  await pause(2);
  await until(container, "healthy", 60);
  const after = await workers();
  assert.ok(after.length > 0 && !after.some((pid) => before.includes(pid)));
  say("its worker was killed: another took its place, and it is healthy");

  // No worker can start any more.
  const main = join(packages, "torchwire_worker", "__main__.py");
  await rename(main, `${main}.away`);
  try {
    for (const pid of await workers()) kill(pid);
    await until(container, "unhealthy", 60);
  } finally {
    await rename(`${main}.away`, main);
  }
  await until(container, "healthy", 60);
  say("unhealthy when no worker can start, and healthy when one can");
}

async function stops(container: Container): Promise<void> {
  await using worker = await connectWorker(address, { profile: "box", ...settings });
  assert.equal(await worker.import("builtins").sum([1, 2]), 3);
  const started = Date.now();
  const { exitCode } = await container.stop();
  assert.equal(exitCode, 0, container.output());
  say(
    `${image.config.StopSignal} ended it with exit code 0 in ${((Date.now() - started) / 1000).toFixed(1)} s, a client being connected`,
  );
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    // It may have ended with the one before it.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function until(container: Container, health: Health, seconds: number): Promise<void> {
  for (const end = Date.now() + seconds * 1000; ; await pause(0.5)) {
    if ((await container.health()) === health) return;
    if (Date.now() > end) throw new Error(`it is not ${health} after ${seconds} s:\n${container.output()}`);
  }
}

function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

function say(what: string): void {
  console.log(`ok  ${what}`);
}
