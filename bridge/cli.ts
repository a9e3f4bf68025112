#!/usr/bin/env node
/** The command `torchwire`. */

import { messageOf } from "./runtime/kinds.ts";
import "./platform.ts";
import { parseArgs } from "node:util";
import { clean } from "./environment/clean.ts";
import { ensurePython } from "./environment/ensure.ts";
import { findPython } from "./environment/find.ts";
import { packageVersion } from "./environment/package.ts";
import { readRequirementsFile } from "./environment/requirement.ts";
import { setup, type SetupOptions } from "./environment/setup.ts";
import { gigabytes } from "./environment/space.ts";
import { codeOf } from "./environment/untyped.ts";

interface Command {
  summary: string;
  help: string;
  /** Resolves to the exit code. */
  run(args: string[]): Promise<number>;
}

const commands: Record<string, Command> = {
  setup: {
    summary: "make the Python environment with PyTorch that workers run in",
    help: `Usage: torchwire setup [--requirements FILE] [--ssh HOST] [--python PATH] [--torch-backend NAME] [--if-missing]
       torchwire setup --clean [--all]

Makes a Python environment with PyTorch in the user's cache, or says that it is there. In a project that has a
torchwire.packages.json it also has the packages and versions that this file lists.

  --python PATH          the interpreter to make it from, 3.10 to 3.13 (default: the first on PATH)
  --torch-backend NAME   the build of PyTorch: auto, cpu, cu126, cu128, cu130, …; it comes from PyTorch's own index
                         and needs uv (default: cpu on Linux without an NVIDIA GPU, else the build that the package
                         index has)
  --requirements FILE    add the packages that a requirements file lists to the project, as "torchwire add" does
  --ssh HOST             make it on another machine, over your own ssh, for spawnWorker({ ssh: "HOST" }); ssh's own options
                         go in front, in quotes: --ssh="-p 2222 gpu-box"
  --if-missing           do nothing where a usable interpreter is found already
  --clean                remove the environments that this version or no project uses; with --all every one

Environment:
  TORCHWIRE_CACHE   the folder for it (default: torchwire, in the user's cache)
  The settings of uv and pip (indexes, proxies, caches) apply.
`,
    run: runSetup,
  },
  add: {
    summary: "add Python packages to the project's environment",
    help: `Usage: torchwire add PACKAGE… [--ssh HOST] [--python PATH] [--torch-backend NAME]
       torchwire add --upgrade [PACKAGE…]

Makes an environment that has these packages too, as pip writes them (timm "transformers>=4.50"), and leaves torchwire's own
in their versions. They and their versions are recorded in torchwire.packages.json, beside the project's package.json:
keep it in version control, and "torchwire setup" makes the same on another machine. Programs of this project use it from
now on, those of others do not.

  --upgrade              take the newest releases that fit: of these packages, or of all that the project has
  --ssh HOST             install on another machine, as in "torchwire setup --ssh"; the project is the one here
  --python, --torch-backend   as in "torchwire setup"
`,
    run: runAdd,
  },
  doctor: {
    summary: "check every link of the chain, and say what mends what is broken",
    help: `Usage: torchwire doctor [--python PATH] [--json]
       torchwire doctor --worker PROFILE_OR_ADDRESS [--json]

Checks Node, zeromq, the interpreter, PyTorch, the device, the disk and a worker. The exit code is 1 where something fails.

  --python PATH   the interpreter to check (default: the one that workers would run in)
  --worker NAME   check the way to a worker elsewhere instead: the profile, both ports, the keys, and the worker. Where
                  the second port is not the next one, give both addresses, with a comma between
  --json          the same as JSON: { torchwire, ok, checks: [{ name, status, detail, command? }] }
`,
    run: runDoctor,
  },
  keygen: {
    summary: "make the keys for a worker on another machine",
    help: `Usage: torchwire keygen NAME [--address URL] [--control URL] [--server-key=KEY] [--as NAME] [--force]

Makes the keys that a worker elsewhere and this user know each other by. This user's go into the profile NAME, which
connectWorker(URL, { profile: "NAME" }) reads; the server's half is printed, for the server to read:

  npx torchwire keygen gpu-box | ssh gpu-box torchwire-worker authorize --keys keys

It is one line, and holds the server's secret key: pipe it, and keep it out of files, chats and logs.

  --address URL      where the worker is (default: tcp://NAME:5555)
  --control URL      where its second port is, if a tunnel or a mapped port has moved it (default: the next port)
  --server-key=KEY   the public key of a server that has keys already; the printed half holds no secret then. Z85 has
                     characters that shells take for theirs: put it in single quotes
  --as NAME          what the server calls this client (default: user@host)
  --force            replace the profile that is there: who has only the old keys gets in no more

Environment:
  TORCHWIRE_CONFIG   the folder of the profiles' folder (default: torchwire, among the user's settings)
`,
    run: runKeygen,
  },
  replay: {
    summary: "run the file of a failed step again, up to the operation that failed",
    help: `Usage: torchwire replay FILE [--trust] [--until N[:K]] [--print NAME]… [--in-python DIR] [--python PATH]

Tells what is in the file that a fit has written where a step failed, a torchwire-crash-….twr. With --trust it runs it: in
a Python like that of workers, without the program. The exit code is 0 where it fails in the same operation with the same
error, or stops where --until says; 1 where it does not; 2 where nothing was run.

  --trust          run it. It can do all that a program can: know who made the file
  --until N[:K]    stop after batch N, or before operation K of batch N
  --print NAME     print a value where it stops: xs, ys, yhat, loss, model, optimizer; may come several times
  --in-python DIR  write it as a script of Python, with its arrays beside it, into a new folder; nothing is run
  --python PATH    the interpreter (default: the one that workers would run in)
`,
    run: runReplay,
  },
  cache: {
    summary: "list or remove the samples that a worker's machine keeps",
    help: `Usage: torchwire cache [list] [--worker PROFILE_OR_ADDRESS | --ssh HOST] [--python PATH]
       torchwire cache remove NAME [--worker PROFILE_OR_ADDRESS | --ssh HOST] [--python PATH]

Lists or removes what new DataLoader(data, { keep: { cache: "NAME" } }) keeps on the disk of the worker's machine: this one,
or another.

  --worker NAME   the machine of a worker that serves: its profile or its address
  --ssh HOST      a machine over your own ssh; ssh's own options go in front, in quotes: --ssh="-p 2222 gpu-box"
  --python PATH   the interpreter (default: the one that workers would run in)

Environment:
  TORCHWIRE_CACHE   the worker's folder for it (default: torchwire, in the user's cache)
`,
    run: runCache,
  },
};

async function runSetup(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      ...making,
      requirements: { type: "string" },
      "if-missing": { type: "boolean" },
      clean: { type: "boolean" },
      all: { type: "boolean" },
    },
  });
  if (values.clean) {
    const { removed, inUse, freed } = await clean({ all: values.all });
    const left = inUse.length === 0 ? "" : `; ${inUse.length} in use`;
    console.error(`torchwire: ${removed.length} removed, ${gigabytes(freed)}${left}`);
    return 0;
  }
  if (values.requirements !== undefined) {
    const tell = (file: string): void => console.error(`torchwire: the hashes in ${file} are not checked`);
    const listed = readRequirementsFile(values.requirements, tell);
    return make({ ...values, add: listed.map(({ text }) => text) });
  }
  if (values["if-missing"] && values.ssh === undefined) {
    await ensurePython({ base: values.python, torchBackend: values["torch-backend"] });
    return 0;
  }
  return make(values);
}

async function runAdd(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { ...making, upgrade: { type: "boolean" } },
  });
  if (positionals.length === 0 && !values.upgrade) {
    console.error(`torchwire: add takes the names of packages\n\n${commands.add!.help}`);
    return 2;
  }
  return make({ ...values, add: positionals });
}

const making = {
  python: { type: "string" },
  "torch-backend": { type: "string" },
  ssh: { type: "string" },
} as const;

interface Making extends Pick<SetupOptions, "python" | "add" | "upgrade"> {
  readonly "torch-backend"?: string | undefined;
  readonly ssh?: string | undefined;
}

/** Makes the environment here or there, and says where it is. */
async function make({ ssh, "torch-backend": torchBackend, python, add, upgrade }: Making): Promise<number> {
  const options = { python, torchBackend, add, upgrade };
  if (ssh !== undefined) {
    const { setupOverSsh } = await import("./ssh/setup.ts");
    const [first = "", ...more] = ssh.trim().split(/\s+/);
    const { executable, created } = await setupOverSsh(more.length === 0 ? first : [first, ...more], options);
    console.error(`torchwire: the Python environment ${created ? "is ready" : "is there"} on ${ssh}: ${executable}`);
    return 0;
  }
  const { executable, created } = await setup(options);
  if (!created) console.error(`torchwire: the Python environment is there: ${executable}`);
  if (add === undefined) return 0;
  const { source, executable: used } = await findPython();
  if (source !== "managed")
    console.error(`torchwire: programs run in another Python here, which ${source} names: ${used}`);
  return 0;
}

async function runDoctor(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: { python: { type: "string" }, worker: { type: "string" }, json: { type: "boolean" } },
  });
  // It loads the rest of torchwire, which need not load here: that is one of its checks.
  const { doctor } = await import("./doctor/doctor.ts");
  return (await doctor(values)) ? 0 : 1;
}

async function runKeygen(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      address: { type: "string" },
      control: { type: "string" },
      "server-key": { type: "string" },
      as: { type: "string" },
      force: { type: "boolean" },
    },
  });
  const [name, ...more] = positionals;
  if (name === undefined || more.length > 0) {
    console.error(`torchwire: keygen takes one name\n\n${commands.keygen!.help}`);
    return 2;
  }
  // It loads zeromq, which the other commands do without.
  const { keygen } = await import("./keys/keygen.ts");
  const serverKey = values["server-key"];
  const { path, address, client, fingerprints, half } = keygen({ ...values, name, serverKey });
  console.log(half);
  const secret = serverKey === undefined ? ", with the server's secret key" : "";
  console.error(`torchwire: the profile ${name} is in ${path}
  server  ${fingerprints.server}
  client  ${fingerprints.client} (${client})
The line on standard output is the server's half${secret}. On the server, this reads it, and shows the same fingerprints:
  torchwire-worker authorize --keys keys
Then, here:
  connectWorker(${JSON.stringify(address)}, { profile: ${JSON.stringify(name)} })`);
  return 0;
}

async function runReplay(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      trust: { type: "boolean" },
      until: { type: "string" },
      print: { type: "string", multiple: true },
      python: { type: "string" },
      "in-python": { type: "string" },
    },
  });
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0) {
    console.error(`torchwire: replay takes one file\n\n${commands.replay!.help}`);
    return 2;
  }
  const { replay } = await import("./tape/replay.ts");
  return replay(file, values);
}

async function runCache(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { worker: { type: "string" }, ssh: { type: "string" }, python: { type: "string" } },
  });
  const [action = "list", name, ...more] = positionals;
  const isKnown = action === "list" ? name === undefined : action === "remove" && name !== undefined;
  const isServed = values.worker !== undefined;
  const clash =
    isServed && values.ssh !== undefined ? "--ssh" : isServed && values.python !== undefined ? "--python" : "";
  if (!isKnown || more.length > 0 || clash !== "") {
    const why = clash === "" ? `it is "cache list" or "cache remove NAME"` : `--worker does not go with ${clash}`;
    console.error(`torchwire: ${why}\n\n${commands.cache!.help}`);
    return 2;
  }
  const { cache } = await import("./start/cache.ts");
  return cache(name, values);
}

function usage(): string {
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}`);
  return `Usage: torchwire COMMAND [OPTIONS]

${lines.join("\n")}

  torchwire COMMAND --help   a command's options
  torchwire --version        the version
`;
}

async function main(args: string[]): Promise<number> {
  const [name = "--help", ...rest] = args;
  if (name === "--help" || name === "-h") {
    process.stdout.write(usage());
    return 0;
  }
  if (name === "--version") {
    console.log(packageVersion());
    return 0;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    console.error(`torchwire: there is no ${name.startsWith("-") ? "option" : "command"} ${name}\n\n${usage()}`);
    return 2;
  }
  if (rest.includes("--help") || rest.includes("-h")) {
    process.stdout.write(command.help);
    return 0;
  }
  try {
    return await command.run(rest);
  } catch (error) {
    console.error(`torchwire: ${messageOf(error)}`);
    if (!codeOf(error).startsWith("ERR_PARSE_ARGS_")) return 1;
    console.error(`\n${command.help}`);
    return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
