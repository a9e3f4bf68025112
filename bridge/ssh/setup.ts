/** Makes the managed environment on another machine, over the user's own ssh: the Python half does it there. */
import { join } from "node:path";
import { openFar, type SshTarget } from "./far.ts";
import { farError, sshError } from "./errors.ts";
import { interruptible } from "../environment/interrupt.ts";
import { recorded, requirementsToAdd, type Made } from "../environment/add.ts";
import { site } from "../environment/managed.ts";
import { Heard, setupOrder } from "../environment/order.ts";
import { packageRoot } from "../environment/package.ts";
import { progressOn } from "../environment/progress.ts";
import type { SetupOptions, SetupResult } from "../environment/setup.ts";

/**
 * `python` is an interpreter of that machine; the project is on this one. Interrupted, it removes what it has made there.
 */
export async function setupOverSsh(
  target: SshTarget,
  options: Pick<SetupOptions, "python" | "torchBackend" | "requirements" | "project" | "add" | "upgrade"> = {},
): Promise<SetupResult> {
  const progress = progressOn(process.stderr);
  const added = requirementsToAdd(options, (line) => progress.line(line));
  const { requirements, wanted } = site(options, { added, upgrade: options.upgrade ?? false });
  const order = {
    ...setupOrder({ requirements, wanted, added, upgrade: options.upgrade }, options.torchBackend, "linux"),
    python: options.python ?? null,
    there: " there",
  };
  return interruptible(async (signal) => {
    const heard = new Heard(progress);
    const far = openFar(target, order, {
      workerFolder: join(packageRoot(), "python", "torchwire_worker"),
      // Some twenty thousand files are to be removed.
      graceMs: 60_000,
      onLine: (line) => progress.line(line),
      onSaid: (said) => heard.take(said),
    });
    signal.addEventListener("abort", () => far.end(), { once: true });
    const end = await far.ended;
    progress.close();
    signal.throwIfAborted();
    if (heard.failure !== undefined) throw farError(heard.failure, target);
    const { made } = heard.said;
    if (made === undefined) throw sshError(target, end);
    return recorded(made as Made, wanted);
  });
}
