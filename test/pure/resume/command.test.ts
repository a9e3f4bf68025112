/** The command that goes on, from what Node and npm tell a program about its start. */
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { startCommand, type Started } from "../../../client/resume/command.ts";

const program = "/home/ada/digits/train.ts";
const started = (args: readonly string[], more: Partial<Started> = {}): Started => ({
  argv: ["/usr/bin/node", program, ...args],
  execArgv: [],
  env: {},
  cwd: "/home/ada/digits",
  platform: "linux",
  ...more,
});
const tsx = [
  "--require",
  "/home/ada/digits/node_modules/tsx/dist/preflight.cjs",
  "--import",
  "file:///home/ada/digits/node_modules/tsx/dist/loader.mjs",
];
const npm = (script: string, name = "start"): Started["env"] => ({
  npm_lifecycle_event: name,
  npm_lifecycle_script: script,
  npm_command: name === "start" ? "start" : "run",
  INIT_CWD: "/home/ada/digits",
});

test.each<[what: string, started: Started, command: string | undefined]>([
  ["node", started(["--epochs", "3"]), "node train.ts --epochs 3"],
  [
    "options of node",
    started([], { execArgv: ["--import", "tsx", "--conditions=x"] }),
    "node --import tsx --conditions=x train.ts",
  ],
  ["another folder", started([], { cwd: "/home/ada/runs" }), `node ${program}`],
  [
    "tsx",
    started(["a"], {
      execArgv: [...tsx, "--conditions=x"],
      env: { npm_lifecycle_event: "npx", npm_command: "exec", npm_lifecycle_script: "'tsx'" },
    }),
    "npx tsx --conditions=x train.ts a",
  ],
  ["npm start", started([], { execArgv: tsx, env: npm("tsx train.ts") }), "npm start"],
  ["npm run", started([], { env: npm("npm run -s build && node ./train", "train:gpu") }), "npm run train:gpu"],
  ["arguments in npm's script", started(["--lr", "0.1"], { env: npm("node train.ts --lr '0.1'") }), "npm start"],
  [
    "arguments after it",
    started(["--lr", "0.1", "--to", "a b"], { env: npm("node train.ts --lr 0.1") }),
    "npm start -- --to 'a b'",
  ],
  ["a script whose words are others", started(["3"], { env: npm("node train.ts $EPOCHS") }), "node train.ts 3"],
  ["a program that npm's script has started", started([], { env: npm("bash") }), "node train.ts"],
  [
    "npm in another folder",
    started([], { env: { ...npm("node train.ts"), INIT_CWD: "/home/ada" } }),
    "cd /home/ada/digits && node train.ts",
  ],
  ["Windows", started(["a b"], { platform: "win32" }), 'node train.ts "a b"'],
  ["no file", started([], { argv: ["/usr/bin/node"], execArgv: ["-e", "1"] }), undefined],
])("%s", (_, from, command) => {
  expect(startCommand(from)).toBe(command);
});

test("a shell reads it as the words that it was made of", () => {
  const args = ["it's", "$HOME", "a b", "", "*", "`x`", "\\", '"'];
  const command = startCommand(started(args))!.replace("node train.ts", "printf '%s\\n'");
  expect(execFileSync("sh", ["-c", command], { encoding: "utf8" })).toBe(`${args.join("\n")}\n`);
});
