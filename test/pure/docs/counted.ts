/** Counts what a reader of a program must read: its lines, and the places where its types are overruled. */
import { parseAst } from "vitest/node";

export interface Counted {
  /** Lines of code: those that are neither blank nor comment alone. */
  readonly lines: number;
  /** `x as T`. `as const` is none, nor is `import { a as b }`. */
  readonly casts: number;
  /** Uses of the type `any`. */
  readonly any: number;
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
}

export function countTypeScript(source: string): Counted {
  const found = { casts: 0, any: 0 };
  const texts: Node[] = [];
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    if (isNode(value)) {
      if (value.type === "TSAnyKeyword") found.any++;
      if (value.type === "TSTypeAssertion" || (value.type === "TSAsExpression" && !isConst(value))) found.casts++;
      if (value.type === "Literal" || value.type === "TemplateElement") texts.push(value);
    }
    for (const part of Object.values(value)) visit(part);
  };
  visit(parseAst(source, { lang: "ts" }));
  // Without texts and regular expressions, whatever looks like a comment is one. Their blank lines count.
  let code = source;
  for (const { start, end } of texts.toSorted((a, b) => b.start - a.start))
    code = code.slice(0, start) + code.slice(start, end).replaceAll(/[^\n]+|^$/gm, "x") + code.slice(end);
  const bare = code.replaceAll(/\/\*[^]*?\*\/|\/\/.*/g, (comment) => comment.replaceAll(/[^\n]/g, ""));
  return { lines: codeLines(bare), ...found };
}

const isNode = (value: object): value is Node => "type" in value && "start" in value && "end" in value;

const isConst = (cast: object): boolean =>
  (cast as { typeAnnotation: { typeName?: { name?: string } } }).typeAnnotation.typeName?.name === "const";

/** Docstrings are comments: a text in three quotes at the beginning of a line. */
export function countPython(source: string): number {
  return codeLines(source.replaceAll(/^[ \t]*"""[^]*?"""[ \t]*$/gm, "").replaceAll(/^\s*#.*/gm, ""));
}

const codeLines = (code: string): number => code.split("\n").filter((line) => line.trim() !== "").length;
