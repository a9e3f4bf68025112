/** Things by position or by name, nested: how the inputs and the targets of one step may be put together. */
import { isPlainObject } from "../../bridge/runtime/kinds.ts";

export type Tree<T> = T | readonly Tree<T>[] | { readonly [name: string]: Tree<T> };

/** The path of a part: `xs.left`, `xs["right eye"]`. */
export const memberOf = (path: string, name: string): string =>
  /^[\p{ID_Start}_$][\p{ID_Continue}$]*$/u.test(name) ? `${path}.${name}` : `${path}[${JSON.stringify(name)}]`;

/** The same tree, each leaf changed. What `isLeaf` does not take is an array or a record of parts, or goes to `refuse`. */
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
