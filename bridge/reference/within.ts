/** The references in a value of the program's: in arrays, records, Maps, Sets and objects of its own classes, nested. */
import { isMap, isSet } from "../runtime/kinds.ts";
import { inner } from "./ref.ts";

/**
 * Gives each reference in `value` once. It calls no code of the program: getters are passed over, and private fields
 * and the variables of functions cannot be seen.
 */
export function* referencesIn(value: unknown): Generator<object> {
  // A list, and no recursion: a chain of objects may be longer than the stack is deep.
  const left = [value];
  const seen = new Set<unknown>();
  while (left.length > 0) {
    const next = left.pop();
    if ((typeof next !== "object" && typeof next !== "function") || next === null || seen.has(next)) continue;
    seen.add(next);
    if (inner(next) !== undefined) yield next;
    else if (typeof next === "object") addParts(next, left);
  }
}

function addParts(value: object, parts: unknown[]): void {
  // (Numbers have no parts, and there may be millions of them.)
  if (ArrayBuffer.isView(value)) return;
  try {
    if (Array.isArray(value)) for (let i = 0; i < value.length; i++) parts.push(value[i]);
    else if (isSet(value)) for (const part of Set.prototype.values.call(value)) parts.push(part);
    else if (isMap(value)) for (const [key, part] of Map.prototype.entries.call(value)) parts.push(key, part);
    else for (const key of Object.keys(value)) parts.push(Object.getOwnPropertyDescriptor(value, key)?.value);
  } catch {
    // A Proxy threw.
  }
}
