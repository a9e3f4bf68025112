#!/usr/bin/env node
/** The command `torchwire`. */

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
       torchwire setup --clean [--all]

Makes a Python environment with PyTorch in the user's cache, or says that it is there.

  --python PATH          the interpreter to make it from, 3.10 to 3.13 (default: the first on PATH)
  --torch-backend NAME   the build of PyTorch: auto, cpu, cu126, cu128, cu130, …; it comes from PyTorch's own index
                         and needs uv (default: the build that the package index has)
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

Checks Node, zeromq, the interpreter, PyTorch, the device, the disk and a worker. The exit code is 1 where something fails.

  --python PATH   the interpreter to check (default: the one that workers would run in)
  --json          the same as JSON: { torchwire, ok, checks: [{ name, status, detail, command? }] }
`,
    run: runDoctor,
  },
};

async function runSetup(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      python: { type: "string" },
      "torch-backend": { type: "string" },
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
  if (values["if-missing"]) {
    await ensurePython({ base: values.python, torchBackend });
    return 0;
  }
  const { executable, created } = await setup({ python: values.python, torchBackend });
  if (!created) console.error(`torchwire: the Python environment is there: ${executable}`);
  return 0;
}

async function runDoctor(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { python: { type: "string" }, json: { type: "boolean" } } });
  // It loads the rest of torchwire, which need not load here: that is one of its checks.
  const { doctor } = await import("./doctor/doctor.ts");
  return (await doctor({ python: values.python, json: values.json })) ? 0 : 1;
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
    console.error(`torchwire: ${error instanceof Error ? error.message : String(error)}`);
    if (!codeOf(error).startsWith("ERR_PARSE_ARGS_")) return 1;
    console.error(`\n${command.help}`);
    return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
