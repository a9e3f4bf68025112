/** The workers that are attacked. */
import { Keys, serve } from "../fixtures/served.ts";
import type { Fuzz } from "./fuzz.ts";

/** Spawned, on ports of the loopback, with a token; served there to whoever reaches it; served with keys. */
export const targets = ["spawned", "served", "keys"] as const;
export type Target = (typeof targets)[number];

export interface Opened extends AsyncDisposable {
  readonly fuzzed: Pick<Fuzz, "address" | "keys">;
}

export async function open(target: Target): Promise<Opened> {
  if (target === "spawned") return { fuzzed: {}, [Symbol.asyncDispose]: () => Promise.resolve() };
  const keys = target === "keys" ? new Keys("honest", "stranger") : undefined;
  const served = await serve({ keys: keys?.folder });
  return {
    fuzzed: {
      address: served.address,
      ...(keys === undefined
        ? {}
        : { keys: { profile: "honest", config: keys.config, stranger: keys.of("stranger"), secrets: keys.secrets } }),
    },
    async [Symbol.asyncDispose]() {
      await served[Symbol.asyncDispose]();
      keys?.[Symbol.dispose]();
    },
  };
}
