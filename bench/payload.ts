/** Bytes a second as tensors, against the sockets alone. */
import { lend, py, spawnWorker, type NDArray } from "torchwire";
import { BareLink } from "./bare.ts";
import { measure, type Contest, type Measured, type Opened } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { stream, type Streamed } from "./stream.ts";

const STARTS = 2;
const MEBIBYTE = 2 ** 20;
const SIZES = [1.5 * MEBIBYTE, 16 * MEBIBYTE] as const;
/** Messages in flight. */
const WINDOW = 4;

export async function measurePayload(surroundings: Surroundings): Promise<Measured[]> {
  return measure(
    () => open(surroundings),
    surroundings.quick ? 1 : STARTS,
    surroundings,
    (text) => surroundings.progress(`payload: ${text}`),
  );
}

async function open({ python, runSeconds, sawVersions }: Surroundings): Promise<Opened> {
  const [worker, bare] = await Promise.all([spawnWorker({ python, device: "cpu" }), BareLink.open(python, "sink")]);
  sawVersions(worker.versions);

  const contests: Contest[] = [];
  for (const size of SIZES) {
    // Not zeros: memory that was never written to is one page for all.
    const bytes = new Uint8Array(size).fill(1);
    const gigabytes = ({ count, seconds }: Streamed): Record<string, number> => ({
      "GB/s": (size * count) / seconds / 1e9,
    });
    const bareStream = async (message: () => Uint8Array): Promise<Record<string, number>> =>
      gigabytes(await bare.stream(runSeconds, WINDOW, message));
    const lent = lend({ dtype: "uint8", shape: [size], data: bytes.slice() });
    const send = (x: NDArray | Uint8Array): Promise<unknown> => worker.scope(() => py.js(worker.tensor(x).numel()));
    const arrived = await send(bytes);
    if (arrived !== size) throw new Error(`of ${size} bytes, ${String(arrived)} arrived`);
    const variants = [
      { name: "bare ZeroMQ, the same bytes again", run: async () => bareStream(() => bytes) },
      { name: "bare ZeroMQ, a fresh copy each", run: async () => bareStream(() => bytes.slice()) },
      ...[
        { name: "torchwire, memory that is lent, as a DataLoader's is", x: lent },
        { name: "torchwire, worker.tensor(bytes), which copies", x: bytes },
      ].map(({ name, x }) => ({ name, run: async () => gigabytes(await stream(runSeconds, WINDOW, () => send(x))) })),
    ];
    for (const { run } of variants) await run();
    contests.push({
      name: `${size / MEBIBYTE} MiB of uint8`,
      primary: "GB/s",
      better: "higher",
      reference: variants[0]!.name,
      columns: ["GB/s"],
      variants,
      facts: { "in flight": WINDOW },
    });
  }
  return {
    contests,
    pids: [worker.pid, bare.pid],
    async close() {
      await Promise.all([worker.close(), bare.close()]);
    },
  };
}
