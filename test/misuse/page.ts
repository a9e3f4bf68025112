/** docs/misuse.md, made of what the tests saw. */

export interface Row {
  readonly kind: string;
  /** The line that is wrong; undefined where none is to blame. */
  readonly wrote: string | undefined;
  /** Undefined where it is no error. */
  readonly code: string | undefined;
  readonly text: string;
}

const HEAD = `# What errors say

Look here for an error message that you have seen, and for the line of code that causes it. Each row is a test: the line was run, with a worker, and this is the message. \`train.ts:31\` stands for the line. If the message does
not name it, the error's stack does, which Node prints below the message; here it is the line that begins with "at". An error that the end of a worker causes has no line. A reference in place of a value is printed as its
tag, \`[PyRef #12]\`; mostly the compiler finds it earlier.

\`npm run misuse\` writes this page, and a test compares it with the messages of today.
`;

/** The line whose comment is an arrow, of each case in a file of cases: its number and its text. */
export function marked(source: string, titles: readonly string[]): Map<string, { line: number; wrote: string }> {
  const lines = source.split("\n");
  const begins = titles.map((title) =>
    lines.findIndex((text) => text.trimStart().startsWith(`${JSON.stringify(title)}:`)),
  );
  const found = new Map<string, { line: number; wrote: string }>();
  for (const [i, title] of titles.entries()) {
    if (begins[i] === -1) throw new Error(`"${title}" has no line of its own`);
    const end = begins[i + 1] ?? lines.length;
    const arrows = lines.slice(begins[i], end).flatMap((text, at) => (text.endsWith("// <-") ? [begins[i]! + at] : []));
    if (arrows.length > 1) throw new Error(`"${title}" has two arrows`);
    if (arrows[0] !== undefined) found.set(title, { line: arrows[0] + 1, wrote: shown(lines[arrows[0]]!, title) });
  }
  return found;
}

/** As a user would have written it: what only quiets the compiler is left out. */
function shown(line: string, title: string): string {
  return line
    .replace(/\s*\/\/ <-$/, "")
    .replace(`${JSON.stringify(title)}:`, "")
    .replace(/^\s*(?:async )?\((?:\{[^}]*\})?\) => (?!\{$)/, "")
    .replaceAll(/ as (?:unknown as )?(?:never|any|string)\b/g, "")
    .replaceAll(/: (?:any|unknown)\b/g, "")
    .replace(/^\s*return /, "")
    .trim()
    .replace(/,$/, "")
    .replace(/^\(\((.*)\)\)$/, "$1");
}

export function pageOf(families: Readonly<Record<string, readonly Row[]>>): string {
  const tables = Object.entries(families).map(([family, rows]) =>
    [
      `\n## ${family}\n`,
      "| mistake | line | code | message |",
      "| --- | --- | --- | --- |",
      ...rows.map(
        ({ kind, wrote, code, text }) =>
          `| ${cell(kind)} | ${wrote === undefined ? "" : coded(wrote)} | ${code ?? "no error"} | ${text
            .split("\n")
            .map((line) => coded(line))
            .join("<br>")} |`,
      ),
      "",
    ].join("\n"),
  );
  return HEAD + tables.join("");
}

const cell = (text: string): string => text.replaceAll("|", "\\|");

/** Backticks around it: more of them than there are in it. */
function coded(text: string): string {
  const longest = Math.max(0, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const fence = "`".repeat(longest + 1);
  const space = longest > 0 ? " " : "";
  return text.trim() === "" ? "" : `${fence}${space}${cell(text)}${space}${fence}`;
}
