/**
 * Throws where torchwire cannot work, and says why. It must be imported first: zeromq's binary and others would fail
 * there with less of an explanation.
 */

import { EnvironmentError } from "./errors/errors.ts";

/** The global variables that tell one runtime from another. */
export interface Globals {
  readonly Bun?: unknown;
  readonly Deno?: unknown;
  readonly EdgeRuntime?: unknown;
  readonly document?: unknown;
  readonly navigator?: { readonly userAgent?: string };
  readonly process?: { readonly versions?: { readonly node?: string } };
}

/** The reason why torchwire cannot work here; undefined where it can. */
export function whyUnsupported(globals: Globals): string | undefined {
  const node = globals.process?.versions?.node;
  const places: [there: boolean, name: string][] = [
    [globals.Bun !== undefined, "Bun"],
    [globals.Deno !== undefined, "Deno"],
    [globals.EdgeRuntime !== undefined || globals.navigator?.userAgent === "Cloudflare-Workers", "an edge runtime"],
    // Tests and Electron have a document in Node.
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
