/** The operations that a piece of code asks of a worker, without a worker. */
import { Log } from "../../bridge/log/log.ts";
import type { Batch, Operation } from "../../bridge/log/batch.ts";
import type { Worker } from "torchwire";

/** The operations that `run` queues. The same code gives the same ones each time, with the same ids. */
export function recorded(run: (worker: Worker) => unknown): Operation[] {
  const sent: Batch[] = [];
  const log = new Log({ send: (batch) => void sent.push(batch), admit: () => undefined, ended: undefined });
  run({ device: "cpu", import: (name: string) => log.import(name) } as unknown as Worker);
  log.outbox.flush();
  return sent.flatMap((batch) => batch.operations);
}
