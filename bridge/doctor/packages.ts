/** Asks an interpreter which packages load, whether torch and torchvision fit, and which device there is. */

import { existsSync } from "node:fs";
import { parseRecord } from "../environment/untyped.ts";
import { closePipesAtExit } from "../process/lines.ts";
import { failed, type Finding, ok, skipped, warning } from "./check.ts";

/** One package. `error`: why it does not load. */
export interface Package {
  version: string | undefined;
  error: string | undefined;
}

export interface Devices {
  /** The device, as `worker.device` names it. */
  name: string;
  /** The platform that PyTorch was built for, and the GPUs that it sees. */
  detail: string;
  /** Its warnings while it looked, such as of a driver that is too old. */
  warned: string;
}

export interface Inspected {
  packages: Map<string, Package>;
  devices: Devices | undefined;
  pip: boolean;
  /** How the process ended, where it did not end well. */
  crash: string | undefined;
}

/** Imports everything in one process of the interpreter, as the worker would. Takes seconds. */
export async function inspect(executable: string, env: NodeJS.ProcessEnv): Promise<Inspected> {
  const { execa } = await import("execa");
  const options = { env, extendEnv: false, reject: false, stdin: "ignore", timeout: 180_000 } as const;
  const child = execa(executable, ["-c", script], options);
  void closePipesAtExit(child);
  const result = await child;
  const found: Inspected = { packages: new Map(), devices: undefined, pip: false, crash: undefined };
  for (const line of result.stdout.split("\n")) {
    const { package: name, version, error, device, detail, warned, pip } = parseRecord(line) ?? {};
    if (typeof name === "string") found.packages.set(name, { version: text(version), error: text(error) });
    if (typeof device === "string") found.devices = { name: device, detail: String(detail), warned: String(warned) };
    if (pip === true) found.pip = true;
  }
  if (result.failed) {
    const said = result.stderr.trimEnd().split("\n").at(-1) || result.originalMessage;
    found.crash = result.timedOut ? "did not end within 3 minutes" : `ended by ${result.signal ?? said}`;
  }
  return found;
}

/** The command that puts packages into an interpreter's environment. */
export type Installer = (...packages: string[]) => string;

export function checkPackage(name: string, found: Inspected, install: Installer, required = true): Finding {
  const { version, error } = found.packages.get(name) ?? {
    version: undefined,
    error: `Python ${found.crash ?? "said nothing of it"}`,
  };
  if (version === undefined && error === undefined) {
    const how = required ? failed : warning;
    return how("it is not there", install(name));
  }
  if (error !== undefined) return failed(`${version ?? ""} does not load: ${error}`.trimStart(), install(name));
  return ok(version ?? "");
}

/** Checks that torchvision fits torch: its operators are compiled for one release and one build of torch. */
export function checkTorchvision(found: Inspected, install: Installer): Finding {
  const torch = found.packages.get("torch");
  const torchvision = found.packages.get("torchvision");
  const alone = checkPackage("torchvision", found, install, false);
  if (torch?.version === undefined || torchvision?.version === undefined) return alone;
  const pair = `torch ${torch.version} and torchvision ${torchvision.version}`;
  const fitting = releaseFor(torch.version);
  const release = torch.version.replace(/\+.*/, "");
  const mend = install(`torch==${release}`, fitting === undefined ? "torchvision" : `torchvision==${fitting}.*`);
  const fits = fitting === undefined || torchvision.version.startsWith(`${fitting}.`);
  const releases = fits ? "they must be of one build" : `torch ${release} goes with torchvision ${fitting}`;
  if (torchvision.error !== undefined && /torchvision::\w+ does not exist|undefined symbol/.test(torchvision.error))
    return failed(`${pair} do not fit (${torchvision.error}): ${releases}, both from one index`, mend);
  if (alone.status === "ok" && !fits) return warning(`${pair} were not made for each other: ${releases}`, mend);
  return alone;
}

/** torchvision's release that fits one of torch: 0.15 came with 2.0, and both count on together. */
function releaseFor(torch: string): string | undefined {
  const [major, minor] = torch.split(".").map(Number);
  return major === 2 && minor !== undefined ? `0.${minor + 15}` : undefined;
}

export function checkDevice({ devices, packages }: Inspected, nvidia: boolean = existsSync("/dev/nvidiactl")): Finding {
  if (devices === undefined) return skipped("torch does not load");
  const { name, detail, warned } = devices;
  const says = `${name}; torch is ${detail}`;
  if (name === "cpu" && nvidia) {
    if (/\+cpu/.test(packages.get("torch")?.version ?? "") || detail.includes("for the CPU alone"))
      return warning(`${says}, and this machine has an NVIDIA GPU`, "npx torchwire setup --torch-backend auto");
    return warning(
      `${says}; the NVIDIA GPU of this machine is not used: ${warned || "no reason was given"}`,
      "nvidia-smi",
    );
  }
  return ok(says);
}

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

// Each answer is a line, so that those before a crash are known.
const script = `
import importlib, json, sys, warnings
from importlib import metadata, util
sys.path = [p for p in sys.path if p]
def say(**what):
    print("\\n" + json.dumps(what), flush=True)
say(pip=util.find_spec("pip") is not None)
def look(name, module):
    version = error = None
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
    try:
        there = importlib.import_module(module)
        version = version or getattr(there, "__version__", "?")
        if name == "torch":
            version = there.__version__
        if name == "torchvision":
            import torch
            there.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except ModuleNotFoundError as failure:
        if failure.name != module or version is not None:
            error = "%s: %s" % (type(failure).__name__, failure)
    except BaseException as failure:
        error = "%s: %s" % (type(failure).__name__, failure)
    say(package=name, version=version, error=error)
    return error is None and version is not None
for name, module in (("pyzmq", "zmq"), ("msgspec", "msgspec"), ("numpy", "numpy"), ("safetensors", "safetensors")):
    look(name, module)
if look("torch", "torch"):
    import torch
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cuda = torch.cuda.is_available()
    built = "built for CUDA " + torch.version.cuda if torch.version.cuda else "built for ROCm" if torch.version.hip else "built for the CPU alone"
    if cuda:
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        built += " and sees " + ", ".join(names)
    say(device="cuda" if cuda else "cpu", detail=built, warned="; ".join(str(w.message).split("\\n")[0] for w in caught))
look("torchvision", "torchvision")
`;
