/**
 * The native loop, whose batches a bare Dealer of zeromq.js sends to bench/programs/fed_loop.py. It shows the cost of
 * ZeroMQ alone.
 */
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { Context, Dealer } from "zeromq";
import type { ModelName } from "../test/training.ts";
import type { Readings } from "./rounds.ts";
import { again, type Images } from "./torchwire-loop.ts";
import { waitedSeconds } from "./usage.ts";

/** The most that torchwire's loop uses. The program answers two batches at once. */
const WINDOW = 3;

export interface FedLoop {
  readonly pid: number;
  readonly run: (steps: number) => Promise<{ readonly readings: Readings; readonly loss: number }>;
  readonly close: () => Promise<void>;
}

export async function startFedLoop(
  python: string,
  { model, batch, images }: { readonly model: ModelName; readonly batch: number; readonly images: Images },
): Promise<FedLoop> {
  const script = fileURLToPath(new URL("programs/fed_loop.py", import.meta.url));
  // A process group of its own survives Ctrl-C, which would kill it before it has removed its socket. The end of its
  // input stops it cleanly.
  const child = execa(python, [script, model, String(batch)], { detached: true, cleanup: false });
  // Callers hear of a failure when they wait for its line, or its end.
  child.catch(() => undefined);
  const { value, done } = await child.iterable().next();
  if (done) throw new Error(`${script} ended without an address`);
  const socket = new Dealer({ context: new Context({ blocky: false }), linger: 0 });
  socket.connect(value);
  const batches = again(images, batch);
  return {
    pid: child.pid!,
    async run(steps) {
      const waitedBefore = waitedSeconds(child.pid!);
      const client = process.cpuUsage();
      const start = performance.now();
      let sent = 0;
      let answered = 0;
      let loss = Number.NaN;
      while (answered < steps) {
        for (; sent < steps && sent - answered < WINDOW; sent++) {
          const { xs, ys } = (await batches.next()).value;
          const now = sent + 1 === steps ? 1 : 0;
          await socket.send([Buffer.of(now), xs.data, ys.data]);
        }
        const [losses] = (await socket.receive()) as [Buffer];
        answered += losses.length / 8;
        loss = losses.readDoubleLE(losses.length - 8);
      }
      const milliseconds = performance.now() - start;
      const { user, system } = process.cpuUsage(client);
      const waited = waitedSeconds(child.pid!);
      const readings: Record<string, number> = {
        "ms/step": milliseconds / steps,
        "client CPU ms/step": (user + system) / 1000 / steps,
      };
      if (waitedBefore !== undefined && waited !== undefined)
        readings["waited ms/step"] = (1000 * (waited - waitedBefore)) / steps;
      return { readings, loss };
    },
    async close() {
      socket.close();
      child.stdin.end();
      await child;
    },
  };
}
