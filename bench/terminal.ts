/** The screen of a terminal in which a command has run, and the marked places of README.md that show one. */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { execa } from "execa";

export const root: string = fileURLToPath(new URL("..", import.meta.url));
const END = "<!-- end of recording -->";

// Progress bars and npm need a terminal to look as they do for people. Python, which is installed anyway, provides one.
const terminal = `import os, pty, sys
status = pty.spawn(sys.argv[1:])
sys.exit(os.waitstatus_to_exitcode(status))`;

/**
 * Runs a shell's command at the top of the repository, and returns the screen when it is over. `whileOn` is called with
 * all that the terminal has received so far. Rejects where the command fails, unless `mayFail`.
 */
export async function screenOf(
  command: string,
  { whileOn, mayFail = false }: { readonly whileOn?: (received: string) => void; readonly mayFail?: boolean } = {},
): Promise<string> {
  const child = execa("python3", ["-c", terminal, "sh", "-c", `stty cols 110; ${command}`], {
    cwd: root,
    stdin: "ignore",
    reject: !mayFail,
  });
  let received = "";
  child.stdout.on("data", (chunk: Buffer) => whileOn?.((received += chunk.toString())));
  const { stdout } = await child;
  return stdout
    .split(/\r?\n/)
    .map(visible)
    .filter((line) => !line.includes("\u001b"))
    .join("\n")
    .trimEnd();
}

/** A line shows only the text since the cursor last went back to its start. */
function visible(line: string): string {
  const text = line.trimEnd();
  return text
    .slice(text.lastIndexOf("\r") + 1)
    .replaceAll("\u001b[K", "")
    .trimEnd();
}

/** Puts `text` behind the line of README.md that begins with `<!-- mark`, which becomes `<!-- mark, about -->`. */
export async function putIntoReadme(mark: string, about: string | undefined, text: string): Promise<void> {
  const readme = new URL("../README.md", import.meta.url);
  const page = await readFile(readme, "utf8");
  const begin = page.search(new RegExp(`<!-- ${mark}(?:, [^>]*)? -->`));
  const end = page.indexOf(END, begin);
  if (begin < 0 || end < 0) throw new Error(`README.md has no place <!-- ${mark} --> … ${END}`);
  const head = `<!-- ${mark}${about === undefined ? "" : `, ${about}`} -->`;
  await writeFile(readme, `${page.slice(0, begin)}${head}\n\n${text}\n\n${page.slice(end)}`);
}
