/** Lists or removes the samples that are kept on the disk of a worker's machine. */
import { join } from "node:path";
import { execa } from "execa";
import { findPython } from "../environment/find.ts";
import { pythonVariables } from "../environment/variables.ts";
import { readPlace } from "../link/address.ts";
import { py } from "../reference/py.ts";
import type { AnyRef } from "../types/core.ts";
import type { Worker } from "../worker.ts";
import { workerFolder } from "./process.ts";

export interface CacheWhere {
  readonly worker?: string | undefined;
  readonly ssh?: string | undefined;
  readonly python?: string | undefined;
}

/** Removes the cache `name`, or else lists all of them. Resolves with the exit code. */
export async function cache(name: string | undefined, { worker, ssh, python }: CacheWhere): Promise<number> {
  if (worker === undefined && ssh === undefined) return here(name, python);
  await using there = await (worker === undefined ? overSsh(ssh!, python) : served(worker));
  const caches: AnyRef = there.import("torchwire_worker.caches");
  console.log(await py.js((name === undefined ? caches.listing() : caches.removed(name)) as AnyRef));
  return 0;
}

/** Without a worker, which would load PyTorch for nothing. */
async function here(name: string | undefined, python: string | undefined): Promise<number> {
  const { executable } = await findPython({ python });
  const args = name === undefined ? ["list"] : ["remove", "--", name];
  const { exitCode = 1 } = await execa(executable, [join(workerFolder(undefined), "__main__.py"), "cache", ...args], {
    stdio: "inherit",
    reject: false,
    env: pythonVariables(executable),
  });
  return exitCode;
}

async function overSsh(host: string, python: string | undefined): Promise<Worker> {
  const { spawnWorker } = await import("./spawn.ts");
  const [first = "", ...more] = host.trim().split(/\s+/);
  return spawnWorker({ ssh: more.length === 0 ? first : [first, ...more], ...(python !== undefined && { python }) });
}

async function served(asked: string): Promise<Worker> {
  const { connectWorker } = await import("./connect.ts");
  const isAddress = readPlace(asked) !== undefined;
  return connectWorker(isAddress ? asked : undefined, { timeout: 10_000, ...(!isAddress && { profile: asked }) });
}
