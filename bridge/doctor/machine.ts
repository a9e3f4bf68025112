/** Checks this side: Node, the native packages, folders, memory and disk. */

import { existsSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cacheDirectory } from "../environment/places.ts";
import { expectedSize, freeSpace, gigabytes } from "../environment/space.ts";
import { codeOf } from "../environment/untyped.ts";
import { makeSocketDirectory, removeDirectory } from "../start/directory.ts";
import { failed, type Finding, firstLineOf, ok, skipped, warning } from "./check.ts";

/** This Node serves: loading torchwire has judged it (platform.ts). */
export function checkNode(): Finding {
  const { platform, arch, versions } = process;
  const musl = platform === "linux" && glibc() === undefined;
  const where = `${versions.node} on ${platform} ${arch}`;
  if (musl) {
    return warning(
      `${where} with musl, for which PyTorch has no builds; an image with glibc has them`,
      "docker run -it node:24-bookworm-slim",
    );
  }
  return ok(platform === "linux" ? `${where}, glibc ${glibc()}` : where);
}

function glibc(): string | undefined {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime;
}

export async function checkZeromq(): Promise<Finding> {
  try {
    const { version, capability } = await import("zeromq");
    const names = (["ipc", "curve"] as const).filter((name) => capability[name]);
    const has = `libzmq ${version} with ${names.join(", ")}`;
    if (names.includes("ipc") || process.platform === "win32") return ok(has);
    return warning(`${has}, without ipc: ports of 127.0.0.1 are used`);
  } catch (error) {
    return failed(`its binary does not load: ${firstLineOf(error)}`, "npm rebuild zeromq");
  }
}

export async function checkMsgpackr(): Promise<Finding> {
  try {
    const { isNativeAccelerationEnabled, pack, unpack } = await import("msgpackr");
    if (unpack(pack(42)) !== 42) return failed("it does not read what it writes", "npm rebuild msgpackr");
    return ok(isNativeAccelerationEnabled ? "with its native part" : "without its native part, which is not needed");
  } catch (error) {
    return failed(`it does not load: ${firstLineOf(error)}`, "npm install msgpackr");
  }
}

export function checkTemporary(env: NodeJS.ProcessEnv): Finding {
  const file = join(tmpdir(), `torchwire-doctor-${process.pid}`);
  try {
    writeFileSync(file, "");
    rmSync(file);
    return ok(tmpdir());
  } catch (error) {
    const set = env.TMPDIR === undefined ? "" : ", which is what TMPDIR says,";
    return failed(`${tmpdir()}${set} cannot be written to (${codeOf(error)})`, "export TMPDIR=/a/folder/of/yours");
  }
}

export function checkSockets(): Finding {
  if (process.platform === "win32") return ok("ports of 127.0.0.1");
  const { directory, refused } = makeSocketDirectory();
  if (directory !== undefined) removeDirectory(directory);
  const where = directory === undefined ? "ports of 127.0.0.1" : `ipc in ${dirname(directory)}`;
  if (refused.length === 0) return ok(where);
  return warning(`${where}, because of ${refused.join("; ")}`, "export TMPDIR=/a/short/path");
}

/** Docker's default of 64 MB is too little for DataLoader workers of Python, and for NCCL. */
export function checkSharedMemory(folder = "/dev/shm"): Finding {
  if (process.platform !== "linux") return skipped("only Linux has /dev/shm");
  if (!existsSync(folder)) return warning(`there is no ${folder}`, "docker run --shm-size=1g …");
  const { blocks, bsize } = statfsSync(folder);
  const size = blocks * bsize;
  if (size >= 512e6) return ok(gigabytes(size));
  return warning(
    `${folder} has ${gigabytes(size)}, little for PyTorch's own data loaders`,
    "docker run --shm-size=1g …",
  );
}

/** `needed`: the environment must still be made. */
export function checkDisk(env: NodeJS.ProcessEnv, needed: boolean): Finding {
  let folder = cacheDirectory(env);
  while (!existsSync(folder)) folder = dirname(folder);
  const free = freeSpace(folder);
  const has = `${gigabytes(free)} free in ${folder}`;
  const expected = expectedSize("torch==\n", { backend: "auto" });
  if (needed && free < expected) {
    return failed(
      `${has}; the environment takes about ${gigabytes(expected)}`,
      "TORCHWIRE_CACHE=/folder/on/another/disk npx torchwire setup",
    );
  }
  return free < 1e9 ? warning(`${has}, little for weights and checkpoints`) : ok(has);
}
