/**
 * Records `npm start` in a terminal of its own, and puts the final screen into README.md:
 *
 *     npx tsx bench/recording.ts
 */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { describeMachine } from "./machine.ts";

const readme = new URL("../README.md", import.meta.url);
const [BEGIN, END] = ["<!-- recording -->", "<!-- end of recording -->"];

// npm and progress bars need a terminal to look as they do for people. Python, which is installed anyway, provides one.
const terminal = `import os, pty, sys
status = pty.spawn(sys.argv[1:])
sys.exit(os.waitstatus_to_exitcode(status))`;
const { stdout } = await execa("python3", ["-c", terminal, "sh", "-c", "stty cols 110; npm start"], {
  cwd: fileURLToPath(new URL("..", import.meta.url)),
  stdin: "ignore",
});

/** The screen shows, of each line, only the text since the cursor last went back to its start. */
const screen = stdout
  .split(/\r?\n/)
  .map((line) =>
    line
      .slice(line.lastIndexOf("\r") + 1)
      .replaceAll("\u001b[K", "")
      .trimEnd(),
  )
  // Leave out npm's own spinner.
  .filter((line) => !line.includes("\u001b"))
  .join("\n");
const start = screen.indexOf("torch ");
const { cpu, cores } = describeMachine();
const text = `${BEGIN}\n\n\`npm start\`, as a terminal shows it when it is over (${cpu}, ${cores} cores):\n\n\`\`\`\n${screen.slice(start).trimEnd()}\n\`\`\`\n\n${END}`;
const page = await readFile(readme, "utf8");
const [before, after] = [page.indexOf(BEGIN), page.indexOf(END) + END.length];
await writeFile(readme, page.slice(0, before) + text + page.slice(after));
