/** Values asked of the worker, one by one and many at once, against the sockets alone. */
import { py, spawnWorker } from "torchwire";
import { BareLink } from "./bare.ts";
import { requestLength } from "./message-length.ts";
import { measure, type Measured, type Opened, type Readings } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { quantile } from "./stats.ts";
import { latencies, stream } from "./stream.ts";

const STARTS = 2;
/** The number of values asked for at once. */
const AT_ONCE = 1000;
const BARE_WINDOW = 64;
/** V8 needs more than a second of round trips to compile the whole path. */
const WARM_UPS = 4;

export async function measureRoundTrips(surroundings: Surroundings): Promise<Measured[]> {
  return measure(
    () => open(surroundings),
    surroundings.quick ? 1 : STARTS,
    surroundings,
    (text) => surroundings.progress(`round trips: ${text}`),
  );
}

async function open({ python, runSeconds, sawVersions }: Surroundings): Promise<Opened> {
  const [worker, bare] = await Promise.all([spawnWorker({ python, device: "cpu" }), BareLink.open(python, "echo")]);
  sawVersions(worker.versions);
  const length = await requestLength("item");
  const message = new Uint8Array(length).fill(1);
  const x = worker.tensor([1.5]);

  const awaited = async (): Promise<Readings> => percentiles(await latencies(runSeconds, () => x.item()));
  const bareAwaited = async (): Promise<Readings> => percentiles(await latencies(runSeconds, () => bare.ask(message)));
  const pipelined = async (): Promise<Readings> => {
    const { count, seconds } = await stream(runSeconds, 1, () =>
      worker.scope(() => Promise.all(Array.from({ length: AT_ONCE }, () => py.js(x.item())))),
    );
    return { "values/s": (AT_ONCE * count) / seconds };
  };
  const barePipelined = async (): Promise<Readings> => {
    const { count, seconds } = await bare.stream(runSeconds, BARE_WINDOW, () => message);
    return { "values/s": count / seconds };
  };
  for (let i = 0; i < WARM_UPS; i++) for (const warm of [awaited, bareAwaited, pipelined, barePipelined]) await warm();

  return {
    contests: [
      {
        name: "one value, awaited",
        primary: "p50 µs",
        better: "lower",
        reference: "bare ZeroMQ echo",
        columns: ["p50 µs", "p99 µs"],
        variants: [
          { name: "bare ZeroMQ echo", run: bareAwaited },
          { name: "torchwire, await x.item()", run: awaited },
        ],
        facts: { "bytes of the message": length },
      },
      {
        name: "many values, pipelined",
        primary: "values/s",
        better: "higher",
        reference: `bare ZeroMQ echo, ${BARE_WINDOW} in flight`,
        columns: ["values/s"],
        variants: [
          { name: `bare ZeroMQ echo, ${BARE_WINDOW} in flight`, run: barePipelined },
          { name: `torchwire, ${AT_ONCE} x.item() in one go`, run: pipelined },
        ],
        facts: { "bytes of the bare message": length },
      },
    ],
    pids: [worker.pid, bare.pid],
    async close() {
      await Promise.all([worker.close(), bare.close()]);
    },
  };
}

const percentiles = (micros: readonly number[]): Readings => ({
  "p50 µs": quantile(micros, 0.5),
  "p99 µs": quantile(micros, 0.99),
});
