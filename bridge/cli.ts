#!/usr/bin/env node
/** The command `torchwire`. */

import { parseArgs } from "node:util";
import { ensurePython } from "./environment/ensure.ts";
import { packageVersion } from "./environment/package.ts";
import { setup } from "./environment/setup.ts";
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
    help: `Usage: torchwire setup [--python PATH] [--if-missing]

Makes a Python environment with PyTorch in the user's cache, or says that it is there.

  --python PATH   the interpreter to make it from, 3.10 to 3.13 (default: the first on PATH)
  --if-missing    do nothing where a usable interpreter is found already

Environment:
  TORCHWIRE_CACHE   the folder for it (default: torchwire, in the user's cache)
  The settings of uv and pip (indexes, proxies, caches) apply.
`,
    run: runSetup,
  },
};

async function runSetup(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: { python: { type: "string" }, "if-missing": { type: "boolean" } },
  });
  if (values["if-missing"]) {
    await ensurePython({ base: values.python });
    return 0;
  }
  const { executable, created } = await setup({ python: values.python });
  if (!created) console.error(`torchwire: the Python environment is there: ${executable}`);
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
    console.error(`torchwire: ${error instanceof Error ? error.message : String(error)}`);
    if (!codeOf(error).startsWith("ERR_PARSE_ARGS_")) return 1;
    console.error(`\n${command.help}`);
    return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
