import { py } from "../../bridge/reference/py.ts";
import type { Worker } from "../../bridge/worker.ts";
import type { Manifest } from "./manifest.ts";

/** What bits depend on, beside the program. */
export async function environmentOf(worker: Worker): Promise<Manifest["environment"]> {
  const there: unknown = await worker.scope(() =>
    py.js(worker.import("torchwire_worker.helpers.resuming").environment()),
  );
  const { torchwire, torchvision, numpy } = worker.versions;
  const versions = Object.entries({ torchwire, torchvision, NumPy: numpy });
  return {
    ...(there as Manifest["environment"]),
    Node: process.versions.node,
    ...Object.fromEntries(versions.map(([what, version]) => [what, version ?? "none"])),
  };
}
