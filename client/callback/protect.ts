/** Access at run time. It has the rules of the types, for programs that go round them. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { PARTS, type Access, type Mode } from "./access.ts";
import { isContainer, readOnly } from "./read-only.ts";

type Grant = Mode | "free" | { readonly [key: string]: Grant };

/**
 * Returns `parts` as the callback `name` may see it. Everybody may read the keys of `free`. One proxy serves all
 * events, because it asks `parts` for the current values.
 */
export function protect<T extends object>(parts: T, access: Access, name: string, free: ReadonlySet<string>): T {
  const grants = new Map<string, Grant>(Object.entries(access));
  for (const key of free) grants.set(key, "free");
  return granted(() => parts, grants, name, "learner") as T;
}

/** `current` returns the object that the proxy looks at. It may be another one at each event; the proxy stays. */
function granted(current: () => object, grants: ReadonlyMap<string, Grant>, name: string, path: string): object {
  const refuse = (verb: string, key: string | symbol): never => {
    const what = `${path}.${String(key)}`;
    if (grants.get(String(key)) === "free") throw misuse(`${what} is read only`);
    if (path === "learner" && !(key in current()))
      throw misuse(
        `callback ${name}: there is no ${what} for handlers; there are ${PARTS.join(", ")} for those with access`,
      );
    throw misuse(
      `callback ${name} has no ${verb} access to ${what}: say so in its access, ${hint(path, String(key), verb)}`,
    );
  };
  const mayWrite = (key: string | symbol): boolean => typeof key === "string" && grants.get(key) === "write";
  const inner = new Map<string, object>();
  for (const [key, grant] of grants)
    if (typeof grant === "object")
      inner.set(
        key,
        granted(
          () => (current() as { [key: string]: object })[key]!,
          new Map(Object.entries(grant)),
          name,
          `${path}.${key}`,
        ),
      );
  // The target is empty, because a proxy must tell the truth about what its target has.
  return new Proxy(Object.create(null) as object, {
    get(_, key) {
      // `await` and printing ask for these. Nobody in particular does.
      if (typeof key === "symbol" || key === "then" || key === "toJSON") return undefined;
      const grant = grants.get(key);
      if (grant === undefined) return refuse("read", key);
      const value = (current() as { [key: string]: unknown })[key];
      if (!isContainer(value) || grant === "write" || grant === "free") return value;
      return inner.get(key) ?? readOnly(value, name, `${path}.${key}`);
    },
    set(_, key, value) {
      return mayWrite(key) ? Reflect.set(current(), key, value) : refuse("write", key);
    },
    deleteProperty(_, key) {
      return mayWrite(key) ? Reflect.deleteProperty(current(), key) : refuse("write", key);
    },
    has: (_, key) => Reflect.has(current(), key),
    defineProperty: (_, key) => refuse("write", key),
    setPrototypeOf: () => refuse("write", "prototype"),
    preventExtensions: () => refuse("write", "extensibility"),
  });
}

function hint(path: string, key: string, verb: string): string {
  const keys = [...path.split(".").slice(1), key];
  return keys.reduceRight((inside, part) => `${part}: ${inside === "" ? `"${verb}"` : `{ ${inside} }`}`, "");
}

const misuse = (message: string): TorchwireError => new TorchwireError("MISUSE", message);
