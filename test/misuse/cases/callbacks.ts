import { callback, Metrics, Recorder } from "torchwire";
import { CustomCallback, EMA, SWA } from "torchwire/callbacks";
import type { Cases } from "../given.ts";

export const callbacks: Cases = {
  "a callback without a name": () => callback({ on: {} } as never), // <-
  "a callback with an access that does not exist": () => callback({ name: "Mine", access: { model: "look" as never } }), // <-
  "a handler that is no function": () => callback({ name: "Mine", on: { stepEnd: 3 as never } }), // <-
  "a custom callback without a handler": () => new CustomCallback("stepEnd", undefined as never), // <-
  "state that nobody writes": ({ learner }) => learner({ callbacks: [new Metrics()] }), // <-
  "a callback that throws": async ({ learner }) => {
    const handler = (): never => {
      throw new Error("the disk is full"); // <-
    };
    const bad = new CustomCallback("epochEnd", handler, { name: "Bad" });
    await learner({ callbacks: [new Recorder(), bad] }).fit(1);
  },
  "a callback that reads without access": async ({ learner }) => {
    const handler: any = ({ step }: any) => void step.loss; // <-
    const sneaks = new CustomCallback("stepEnd", handler, { name: "Sneaks" });
    await learner({ callbacks: [new Recorder(), sneaks] }).fit(1);
  },
  "a callback that writes without access": async ({ learner }) => {
    const handler: any = (at: any) => void (at.model = 1); // <-
    const sneaks = new CustomCallback("epochEnd", handler, { name: "Sneaks", access: { model: "read" } });
    await learner({ callbacks: [new Recorder(), sneaks] }).fit(1);
  },
  "cancelling what is not under way": async ({ learner }) => {
    const access = { control: "write" } as const;
    const late = new CustomCallback("epochEnd", ({ control }) => control.cancel("step"), { name: "Late", access }); // <-
    await learner({ callbacks: [new Recorder(), late] }).fit(1);
  },
  "two averages to validate": ({ learner }) =>
    learner({ callbacks: [new EMA(), new SWA({ start: 1, validate: true })] }), // <-
  "a fit inside of a fit": async ({ learner }) => {
    const inside = new CustomCallback("epochEnd", async () => void (await learner().fit(1)), { name: "Inside" }); // <-
    await learner({ callbacks: [new Recorder(), inside] }).fit(1);
  },
};
