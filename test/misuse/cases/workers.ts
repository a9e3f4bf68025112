import { py, spawnWorker } from "torchwire";
import { defaultLimits } from "../../../bridge/wire/limits.ts";
import { decodeMessage } from "../../../bridge/wire/meta.ts";
import { bytes, golden } from "../../golden/vectors.ts";
import { testWorker } from "../../worker.ts";
import type { Cases } from "../given.ts";

export const workers: Cases = {
  "a device that is not there": async () => await spawnWorker({ device: "cuda:7" }), // <-
  "a device that is none": async () => await spawnWorker({ device: "gpu" as never }), // <-
  "a seed that is no whole number": async () => await spawnWorker({ seed: 0.5 }), // <-
  "no threads": async () => await spawnWorker({ threads: 0 }), // <-
  "a Python that is not there": async () => await spawnWorker({ python: "no-such-python" }), // <-
  "a folder that is not there": async () => await spawnWorker({ cwd: "/no/such/folder" }), // <-
  "no Python anywhere": async ({ folder }) => {
    const before = { ...process.env };
    for (const name of ["TORCHWIRE_PYTHON", "VIRTUAL_ENV", "XDG_CACHE_HOME"]) delete process.env[name];
    process.env["TORCHWIRE_CACHE"] = `${folder}/cache`;
    try {
      await spawnWorker({ cwd: folder }); // <-
    } finally {
      delete process.env["TORCHWIRE_CACHE"];
      Object.assign(process.env, before);
    }
  },
  "a Python without torch": async ({ python }) => {
    const options = python("bare");
    await spawnWorker(options); // <-
  },
  "a Python too old": async ({ python }) => {
    const options = python("old");
    await spawnWorker(options); // <-
  },
  "a torch that cannot be loaded": async ({ python }) => {
    const options = python("broken");
    await spawnWorker(options); // <-
  },
  "a Python that ends before it has begun": async ({ python }) => {
    const options = python("dies");
    await spawnWorker(options); // <-
  },
  "a torchvision that does not fit its torch": async ({ python }) => {
    await using worker = await testWorker(python("unfit"));
    await py.js(worker.import("torchvision")); // <-
  },
  "a worker of another version of the protocol": () => {
    decodeMessage(golden.refusedMessages[3]!.hex.map(bytes), defaultLimits);
  },
  "a closed worker": ({ closed }) => closed.import("torch"), // <-
  "a reference of a closed worker": async ({ closedLearner }) => await closedLearner.model.weight, // <-
  "a worker killed while it computes": async () => {
    await using worker = await testWorker();
    const sleeping = worker.import("time").sleep(100);
    const waiting = py.js(sleeping);
    setTimeout(() => process.kill(worker.pid, "SIGKILL"), 500);
    await waiting;
  },
  "a worker that a C library ends": async () => {
    await using worker = await testWorker();
    worker.import("builtins").print("libfoo: out of memory");
    await worker.import("os")._exit(3);
  },
  "a loop that never awaits": ({ other }) => {
    const items = other.import("builtins").dict();
    for (let i = 0; i < 2_000_000; i++) items[0] = i; // <-
  },
};
