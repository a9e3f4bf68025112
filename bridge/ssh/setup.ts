/** Makes the managed environment on another machine, over the user's own ssh: what is done there is the far side's. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openFar, type SshTarget } from "./far.ts";
import { farError, sshError, type FarFailure } from "./errors.ts";
import { interruptible } from "../environment/interrupt.ts";
import { lockedRequirements, packageRoot } from "../environment/package.ts";
import { progressOn } from "../environment/progress.ts";
import type { SetupOptions, SetupResult } from "../environment/setup.ts";
import { expectedSize } from "../environment/space.ts";

/** `python` is an interpreter of that machine. Interrupted, it removes what it has made there. */
export async function setupOverSsh(
  target: SshTarget,
  options: Pick<SetupOptions, "python" | "torchBackend" | "requirements"> = {},
): Promise<SetupResult> {
  const requirements = readFileSync(options.requirements ?? lockedRequirements(), "utf8");
  const backend = options.torchBackend;
  const progress = progressOn(process.stderr);
  // Only that machine knows whether it has a GPU.
  const bytes = expectedSize(requirements, { platform: "linux", ...(backend === "auto" ? {} : { backend }) });
  const order = { setup: { backend: backend ?? null, bytes }, python: options.python ?? null, requirements };
  let made: SetupResult | undefined;
  let failure: FarFailure | undefined;
  return interruptible(async (signal) => {
    const far = openFar(target, order, {
      workerFolder: join(packageRoot(), "python", "torchwire_worker"),
      // For some twenty thousand files to be removed.
      graceMs: 60_000,
      onLine: (line) => progress.line(line),
      onSaid: (said) => {
        if (typeof said["line"] === "string") progress.line(`torchwire: ${said["line"]}`);
        if (typeof said["live"] === "string") progress.live(said["live"]);
        if ("made" in said) made = said["made"] as SetupResult;
        if ("error" in said) failure = said["error"] as FarFailure;
      },
    });
    signal.addEventListener("abort", () => far.end(), { once: true });
    const end = await far.ended;
    progress.close();
    signal.throwIfAborted();
    if (failure !== undefined) throw farError(failure, target);
    if (made === undefined) throw sshError(target, end);
    return made;
  });
}
