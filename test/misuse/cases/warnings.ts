import { join } from "node:path";
import { Checkpointer, EarlyStopping, kw, Metrics, Recorder, spawnWorker, type Callback } from "torchwire";
import { SanityCheck } from "torchwire/callbacks";
import { untyped } from "../../observed.ts";
import { pairs, type Cases, type Given } from "../given.ts";

/** The warning with `word` in it that comes while `run` is under way, or just after, as Node prints it. */
async function warned(word: string, run: () => Promise<unknown>): Promise<string> {
  let listen!: (warning: Error & { code?: string }) => void;
  const coming = new Promise<string>((resolve) => {
    listen = ({ name, code, message }) => {
      if (message.includes(word)) resolve(`${code === undefined ? "" : `[${code}] `}${name}: ${message}`);
    };
  });
  process.on("warning", listen);
  try {
    await run();
    return await coming;
  } finally {
    process.off("warning", listen);
  }
}

/** Two epochs without validation data. */
const blind = ({ learner }: Given, ...callbacks: Callback[]): Promise<unknown> =>
  learner({ data: { training: pairs(3) }, callbacks: [new Recorder(), new Metrics(), ...callbacks] }).fit(2);

export const warnings: Cases = {
  "outputs and targets of different shapes": ({ torch }) =>
    warned("target size", async () => {
      await torch.nn.functional.mse_loss(torch.ones(4, 1), torch.ones(4)).item(); // <-
    }),
  "a fit without validation data": (given) => warned("training epochs only", () => blind(given)),
  "SanityCheck without validation data": (given) => warned("sanity check", () => blind(given, new SanityCheck())),
  "EarlyStopping without validation data": (given) =>
    warned("nothing to go by", () => blind(given, new EarlyStopping(2))),
  "Checkpointer that watches a phase that is not run": (given) =>
    warned("Checkpointer", () =>
      blind(given, new Checkpointer(join(given.folder, "runs"), { monitor: "validation.loss" })),
    ),
  "a thread in Python that does not end": () =>
    warned("did not end as it should", async () => {
      const worker = await spawnWorker({ device: "cpu", env: { TORCHWIRE_END_SECONDS: "0.1" } });
      const { Thread } = untyped(worker, "threading");
      Thread!(kw({ target: worker.import("time").sleep, args: [60], name: "mine" })).start();
      await worker.close();
    }),
};
