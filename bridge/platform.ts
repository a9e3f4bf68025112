/**
 * Where torchwire cannot work, it says so. This is imported before anything that would fail there with less of an
 * explanation, such as zeromq's binary.
 */

import { EnvironmentError } from "./errors/errors.ts";

/** Those of the global variables that tell where we are. */
export interface Globals {
  readonly Bun?: unknown;
  readonly Deno?: unknown;
  readonly EdgeRuntime?: unknown;
  readonly document?: unknown;
  readonly navigator?: { readonly userAgent?: string };
  readonly process?: { readonly versions?: { readonly node?: string } };
}

/** Why this is no place for torchwire; undefined where it is. */
export function whyUnsupported(globals: Globals): string | undefined {
  const node = globals.process?.versions?.node;
  const places: [there: boolean, name: string][] = [
    [globals.Bun !== undefined, "Bun"],
    [globals.Deno !== undefined, "Deno"],
    [globals.EdgeRuntime !== undefined || globals.navigator?.userAgent === "Cloudflare-Workers", "an edge runtime"],
    // A document in Node is a test's, or Electron's.
    [globals.document !== undefined && node === undefined, "a browser"],
    [node === undefined, "a runtime without Node's modules"],
  ];
  const name = places.find(([there]) => there)?.[1];
  if (name !== undefined) return `torchwire does not work in ${name}: run it with Node.js (see docs/platforms.md).`;
  const [major = 0, minor = 0] = (node ?? "").split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19)) return undefined;
  return `torchwire needs Node.js 20.19, or 22.12 or newer; this is Node.js ${node}.`;
}

const why: string | undefined = whyUnsupported(globalThis);
if (why !== undefined) throw new EnvironmentError(why);
