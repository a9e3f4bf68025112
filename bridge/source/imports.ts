/** Finds the names that Python source imports. */

/** `from a.b import c, d` is { module: ["a", "b"], names: ["c", "d"] }; `import a.b` has no names. */
export interface ImportStatement {
  readonly module: readonly string[];
  readonly names: readonly string[];
}

const NAME = "[\\p{ID_Start}_][\\p{ID_Continue}]*";
const DOTTED = `${NAME}(?:[ \\t]*\\.[ \\t]*${NAME})*`;
const STATEMENT = new RegExp(
  `(?:^|[;:])[ \\t]*(?:from[ \\t]+(${DOTTED})[ \\t]+import[ \\t]*(\\([^)]*\\)|[^;#\\n]*)|import[ \\t]+([^;#\\n]+))`,
  "gmu",
);
const FIRST = new RegExp(`^\\s*(${DOTTED})`, "u");

/**
 * The absolute imports in a file, in any block. It reads lines and no syntax: what stands in a text between quotation
 * marks counts too, and `importlib.import_module(name)` does not.
 */
export function importsIn(source: string): ImportStatement[] {
  const found: ImportStatement[] = [];
  for (const [, from, names, modules] of source.replaceAll(/\\\r?\n/g, " ").matchAll(STATEMENT)) {
    if (from !== undefined) found.push({ module: parts(from), names: listed(names!) });
    else for (const module of listed(modules!)) found.push({ module: parts(module), names: [] });
  }
  return found;
}

/** The names in `a, b.c as d`, with or without parentheses and comments. */
const listed = (text: string): string[] =>
  text
    .replaceAll(/#[^\n]*/g, "")
    .replace("(", "")
    .split(",")
    .flatMap((each) => FIRST.exec(each)?.[1] ?? []);

const parts = (dotted: string): string[] => dotted.split(".").map((part) => part.trim());
