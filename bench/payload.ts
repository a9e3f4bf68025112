/** Bytes per second as tensors, against the sockets alone. */
import { py, spawnWorker, type NDArray } from "torchwire";
import { lend } from "torchwire/bridge";
import { BareLink } from "./bare.ts";
import { byteContest, bytesOf, SIZES, type Way } from "./bytes.ts";
import { Ring } from "./ring.ts";
import { measure, type Contest, type Measured, type Opened } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { stream } from "./stream.ts";

const STARTS = 2;

export async function measurePayload(surroundings: Surroundings): Promise<Measured[]> {
  return measure(
    () => open(surroundings),
    surroundings.quick ? 1 : STARTS,
    surroundings,
    (text) => surroundings.progress(`payload: ${text}`),
  );
}

async function open({ python, runSeconds, sawVersions }: Surroundings): Promise<Opened> {
  const [worker, bare, ring] = await Promise.all([
    spawnWorker({ python, device: "cpu" }),
    BareLink.open(python, "sink"),
    Ring.open(python, Math.max(...SIZES)),
  ]);
  sawVersions(worker.versions);

  const contests: Contest[] = [];
  for (const size of SIZES) {
    const bytes = bytesOf(size);
    const lent = lend({ dtype: "uint8", shape: [size], data: bytes.slice() });
    const send = (x: NDArray | Uint8Array): Promise<unknown> => worker.scope(() => py.js(worker.tensor(x).numel()));
    const arrived = await send(bytes);
    if (arrived !== size) throw new Error(`of ${size} bytes, ${String(arrived)} arrived`);
    const bareWay = (name: string, message: () => Uint8Array): Way => ({
      name,
      stream: (window) => bare.stream(runSeconds, window, message),
    });
    const way = (name: string, x: NDArray | Uint8Array): Way => ({
      name,
      stream: (window) => stream(runSeconds, window, () => send(x)),
    });
    contests.push(
      await byteContest(size, [
        bareWay("bare ZeroMQ, the same bytes again", () => bytes),
        bareWay("bare ZeroMQ, a fresh copy each", () => bytes.slice()),
        ...(ring === undefined
          ? []
          : [{ name: "bare shared memory", stream: (window: number) => ring.stream(runSeconds, window, bytes) }]),
        way("torchwire, memory that is lent, as a DataLoader's is", lent),
        way("torchwire, worker.tensor(bytes), which copies", bytes),
      ]),
    );
  }
  return {
    contests,
    pids: [worker.pid, bare.pid, ...(ring === undefined ? [] : [ring.pid])],
    async close() {
      await Promise.all([worker.close(), bare.close(), ring?.close()]);
    },
  };
}
