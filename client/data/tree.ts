/** Things nested by position or by name, as the inputs and targets of a step may be. */
import { isPlainObject } from "../../bridge/runtime/kinds.ts";

export type Tree<T> = T | readonly Tree<T>[] | { readonly [name: string]: Tree<T> };

/** The path of a part: `xs.left`, `xs["right eye"]`. */
export const memberOf = (path: string, name: string): string =>
  /^[\p{ID_Start}_$][\p{ID_Continue}$]*$/u.test(name) ? `${path}.${name}` : `${path}[${JSON.stringify(name)}]`;

/**
 * The same tree with each leaf changed. A part that `isLeaf` rejects must be an array or a record of parts, else it
 * goes to `refuse`.
 */
export function mapTree<T, U>(
  tree: unknown,
  path: string,
  isLeaf: (value: unknown) => value is T,
  change: (leaf: T, path: string) => U,
  refuse: (value: unknown, path: string) => never,
): Tree<U> {
  const map = (part: unknown, at: string): Tree<U> => {
    if (isLeaf(part)) return change(part, at);
    if (Array.isArray(part)) return part.map((each, i) => map(each, `${at}[${i}]`));
    if (!isPlainObject(part)) return refuse(part, at);
    return Object.fromEntries(Object.entries(part).map(([name, each]) => [name, map(each, memberOf(at, name))]));
  };
  return map(tree, path);
}
