/** The names that a function and its parameters have in the program: they make the Python readable. */

/** Names of variables and nothing else between the parentheses: no defaults, patterns, comments. */
const PARAMETERS = /^(?:(?:function\b)?\s*[\w$]*\s*\(([\w$\s,]*)\)|([\w$]+)\s*=>)/;
/** A rest parameter that comes first, or after plain names. */
const REST = /^(?:function\b)?\s*[\w$]*\s*\((?:[\w$\s]+,)*\s*\.\.\./;

// (The function may be a proxy, or a class of its own may have redefined toString.)
const textOf = (fn: object): string => {
  try {
    return Function.prototype.toString.call(fn);
  } catch {
    return "";
  }
};

/** The names of the parameters of `fn` up to the first that has a default; empty text where a name is not known. */
export function parametersOf(fn: (...args: any[]) => unknown): string[] {
  const found = PARAMETERS.exec(textOf(fn));
  const names = (found?.[1] ?? found?.[2] ?? "").split(",").map((name) => name.trim());
  return Array.from({ length: fn.length }, (_, i) => (names.length >= fn.length ? names[i]! : ""));
}

export const hasRest = (fn: object): boolean => REST.test(textOf(fn));

export const nameOf = (fn: { readonly name: unknown }): string => (typeof fn.name === "string" ? fn.name : "");
