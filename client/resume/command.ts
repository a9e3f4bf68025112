/** The command that has started this program, to be typed again. */
import { dirname, isAbsolute, relative, resolve } from "node:path";

/** The parts of `process` that it is read from. */
export interface Started {
  readonly argv: readonly string[];
  readonly execArgv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly platform: string;
}

function here(): Started {
  const { argv, execArgv, env, platform } = process;
  return { argv, execArgv, env, platform, cwd: process.cwd() };
}

/** Undefined where the program is no file. Variables that were set for this one command are not known. */
export function startCommand(started: Started = here()): string | undefined {
  const [, script, ...args] = started.argv;
  const { execArgv, env, cwd, platform } = started;
  // The code of `node --eval` is no program that goes on anywhere.
  if (script === undefined || execArgv.some((arg) => /^(-e|-p|-pe|--eval|--print)\b/.test(arg))) return undefined;
  const near = relative(cwd, script);
  const path = near.startsWith("..") || isAbsolute(near) ? script : near;
  const own = withoutTsx(execArgv);
  const shown = (...words: string[]): string => words.map(platform === "win32" ? quotedForWindows : quoted).join(" ");
  const byNpm = npmOf(started);
  if (byNpm !== undefined) return shown(...byNpm);
  const runner = own.length < execArgv.length ? ["npx", "tsx"] : ["node"];
  // npm starts programs in the folder of their package.
  const there = relative(env["INIT_CWD"] ?? cwd, cwd) === "" ? "" : `${shown("cd", cwd)} && `;
  return there + shown(...runner, ...own, path, ...args);
}

/** The tsx command hands itself to Node, in these. */
function withoutTsx(execArgv: readonly string[]): string[] {
  const isTsx = (arg: string | undefined): boolean => /[/\\]tsx[/\\]dist[/\\](preflight|loader)\./.test(arg ?? "");
  return execArgv.filter((arg, i) => !isTsx(arg) && !isTsx(execArgv[i + 1]));
}

/** `npm start` or `npm run NAME`, where that is what has started the program, and nothing else within it. */
function npmOf({ argv: [, program = "", ...args], env, cwd }: Started): string[] | undefined {
  const { npm_lifecycle_event: name, npm_lifecycle_script: script, npm_command: command, INIT_CWD: typedIn } = env;
  if (name === undefined || script === undefined || !["start", "run", "run-script"].includes(command ?? ""))
    return undefined;
  if (relative(cwd, typedIn ?? cwd).startsWith("..")) return undefined;
  const words = script.split(/\s+/).map((word) => word.replaceAll(/['"]/g, ""));
  const at = words.findLastIndex((word) => word !== "" && isSame(resolve(cwd, word), program));
  if (at === -1) return undefined;
  // Its own arguments stand in the script. Those that come after were typed.
  const rest = words.slice(at + 1).join(" ");
  const count = args.findIndex((_, i) => args.slice(0, i).join(" ") === rest);
  const typed = args.join(" ") === rest ? [] : count === -1 ? undefined : args.slice(count);
  if (typed === undefined) return undefined;
  const run = name === "start" ? ["npm", "start"] : ["npm", "run", name];
  return typed.length === 0 ? run : [...run, "--", ...typed];
}

/** Node finds a program without the end of its name, and in a folder. */
const isSame = (named: string, program: string): boolean =>
  named === program ||
  program.replace(/\.[cm]?[jt]s$/, "") === named ||
  (named === dirname(program) && /[/\\]index\.[cm]?[jt]s$/.test(program));

const isPlain = (word: string): boolean => /^[\w@%+=:,./\\-]+$/.test(word);

const quoted = (word: string): string =>
  isPlain(word) && !word.includes("\\") ? word : `'${word.replaceAll("'", `'\\''`)}'`;

const quotedForWindows = (word: string): string => (isPlain(word) ? word : `"${word.replaceAll('"', '\\"')}"`);
