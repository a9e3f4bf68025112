#!/usr/bin/env node
/** The command `torchwire`. */

import { messageOf } from "./runtime/kinds.ts";
import "./platform.ts";
import { parseArgs } from "node:util";
import { clean } from "./environment/clean.ts";
import { ensurePython } from "./environment/ensure.ts";
import { packageVersion } from "./environment/package.ts";
import { setup } from "./environment/setup.ts";
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
    help: `Usage: torchwire setup [--python PATH] [--torch-backend NAME] [--if-missing]
       torchwire setup --ssh HOST [--python PATH] [--torch-backend NAME]
       torchwire setup --clean [--all]

Makes a Python environment with PyTorch in the user's cache, or says that it is there.

  --python PATH          the interpreter to make it from, 3.10 to 3.13 (default: the first on PATH)
  --torch-backend NAME   the build of PyTorch: auto, cpu, cu126, cu128, cu130, …; it comes from PyTorch's own index
                         and needs uv (default: the build that the package index has)
  --ssh HOST             make it on another machine, over your own ssh, for spawnWorker({ ssh: "HOST" }); ssh's own options
                         go in front, in quotes: --ssh="-p 2222 gpu-box"
  --if-missing           do nothing where a usable interpreter is found already
  --clean                remove the environments that this version does not use; with --all every one

Environment:
  TORCHWIRE_CACHE   the folder for it (default: torchwire, in the user's cache)
  The settings of uv and pip (indexes, proxies, caches) apply.
`,
    run: runSetup,
  },
  doctor: {
    summary: "check every link of the chain, and say what mends what is broken",
    help: `Usage: torchwire doctor [--python PATH] [--json]
       torchwire doctor --worker PROFILE_OR_ADDRESS [--json]

Checks Node, zeromq, the interpreter, PyTorch, the device, the disk and a worker. The exit code is 1 where something fails.

  --python PATH   the interpreter to check (default: the one that workers would run in)
  --worker NAME   check the way to a worker elsewhere instead: the profile, both ports, the keys, and the worker
  --json          the same as JSON: { torchwire, ok, checks: [{ name, status, detail, command? }] }
`,
    run: runDoctor,
  },
  keygen: {
    summary: "make the keys for a worker on another machine",
    help: `Usage: torchwire keygen NAME [--address URL] [--server-key=KEY] [--as NAME] [--force]

Makes the keys that a worker elsewhere and this user know each other by. This user's go into the profile NAME, which
connectWorker(URL, { profile: "NAME" }) reads; the server's half is printed, for the server to read:

  npx torchwire keygen gpu-box | ssh gpu-box torchwire-worker authorize --keys keys

It is one line, and holds the server's secret key: pipe it, and keep it out of files, chats and logs.

  --address URL      where the worker is (default: tcp://NAME:5555)
  --server-key=KEY   the public key of a server that has keys already; the printed half holds no secret then. Z85 has
                     characters that shells take for theirs: put it in single quotes
  --as NAME          what the server calls this client (default: user@host)
  --force            replace the profile that is there: who has only the old keys gets in no more

Environment:
  TORCHWIRE_CONFIG   the folder of the profiles' folder (default: torchwire, among the user's settings)
`,
    run: runKeygen,
  },
};

async function runSetup(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      python: { type: "string" },
      "torch-backend": { type: "string" },
      ssh: { type: "string" },
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
  const torchBackend = values["torch-backend"];
  if (values.ssh !== undefined) {
    const { setupOverSsh } = await import("./ssh/setup.ts");
    const [first = "", ...more] = values.ssh.trim().split(/\s+/);
    const target = more.length === 0 ? first : [first, ...more];
    const { executable, created } = await setupOverSsh(target, { python: values.python, torchBackend });
    console.error(
      `torchwire: the Python environment ${created ? "is ready" : "is there"} on ${values.ssh}: ${executable}`,
    );
    return 0;
  }
  if (values["if-missing"]) {
    await ensurePython({ base: values.python, torchBackend });
    return 0;
  }
  const { executable, created } = await setup({ python: values.python, torchBackend });
  if (!created) console.error(`torchwire: the Python environment is there: ${executable}`);
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
