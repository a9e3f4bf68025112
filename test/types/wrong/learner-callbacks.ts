/** Callbacks: what their handlers may not see or do. Each line ends in the one error it must give. */
import { callback, ValidationPhase } from "torchwire";
import { CustomCallback } from "torchwire/callbacks";
import { CallbackObject, type Handlers } from "../../../client/callback/callback.ts";

const name = "wrong";

// A member that is not in `access` does not exist.
callback({ name, on: { stepBegin: ({ step }) => step } }); // TS2339 a step without access
callback({ name, on: { epochEnd: ({ model }) => model } }); // TS2339 a model without access
callback({ name, on: { stepEnd: ({ control }) => control.cancel("fit") } }); // TS2339 control without access
callback({ name, access: { step: { xs: "read" } }, on: { stepEnd: ({ step }) => step.ys } }); // TS2339 another key of the step
callback({ name, access: { state: { history: "read" } }, observe: { stepEnd: ({ state }) => state.metricsStep } }); // TS2339 another state
callback({ name, access: { data: "read" }, on: { epochBegin: ({ optimizer }) => optimizer } }); // TS2339 another part of the learner

// A member without write access cannot be written.
callback({ name, access: { step: { xs: "read" } }, on: { stepBegin: ({ step }) => void (step.xs = 1) } }); // TS2540 writing a key that is read
callback({ name, access: { step: { xs: "use" } }, on: { stepBegin: ({ step }) => void (step.xs = 1) } }); // TS2540 writing a key that is used
callback({ name, access: { step: { xs: "write" } }, on: { stepBegin: ({ step }) => void (step.ys = 1) } }); // TS2339 writing another key
callback({ name, access: { step: "read" }, on: { stepBegin: ({ step }) => void (step.xs = 1) } }); // TS2540 writing into a step that is read
callback({ name, access: { model: "read" }, on: { fitBegin: (view) => void (view.model = null!) } }); // TS2540 another model
callback({ name, access: { lossFn: "use" }, on: { fitBegin: (view) => void (view.lossFn = null!) } }); // TS2540 another loss
callback({ name, on: { stepBegin: (view) => void (view.epoch = 1) } }); // TS2540 the number of the epoch
callback({ name, access: { data: "read" }, on: { fitBegin: ({ data }) => void (data.training = []) } }); // TS2540 data that is read
callback({ name, access: { state: { history: "read" } }, on: { epochEnd: ({ state }) => void (state.history = {}) } }); // TS2540 state that is read
callback({
  name,
  access: { state: { history: "read" } },
  on: { epochEnd: ({ state }) => void (state.history["a"]!.steps = 0) }, // TS2540 the inside of state that is read
});
callback({
  name,
  access: { state: { metricsStep: "read" } },
  on: { epochEnd: ({ state }) => state.metricsStep["a"]!["loss"]!.push({ at: 1, value: 1 }) }, // TS2339 an array inside of state that is read
});
callback({ name, access: { state: { history: "write" } }, on: { epochEnd: ({ state }) => void (state.history = 1) } }); // TS2322 state of another type

// A step has the keys of its event.
callback({ name, access: { step: { loss: "read" } }, on: { lossBegin: ({ step }) => step.loss } }); // TS2339 the loss before there is one
callback({ name, access: { step: { loss: "write" } }, on: { lossBegin: ({ step }) => (step.loss = null!) } }); // TS2339 writing the loss before there is one
callback({ name, access: { step: { yhat: "use" } }, on: { stepBegin: ({ step }) => step.yhat } }); // TS2339 outputs before the model has run
callback({ name, access: { step: "write" }, on: { stepBegin: ({ step }) => step.loss } }); // TS2339 the loss before there is one, of a whole step
callback({ name, access: { step: "read" }, on: { epochBegin: ({ step }) => step } }); // TS2339 a step at the start of an epoch
callback({ name, access: { step: "read" }, on: { fitEnd: ({ step }) => step } }); // TS2339 a step at the end of a fit
callback({ name, access: { step: "read" }, on: { stepEnd: ({ values }) => values } }); // TS2339 values in line
callback({ name, access: { step: "read" }, on: { stepEnd: ({ size }) => size } }); // TS2339 the size in line

// Events.
callback({ name, on: { stepBegn: () => undefined } }); // TS2561 a misspelt event, with a suggestion
callback({ name, on: { stepbegin: () => undefined } }); // TS2561 an event in another case
callback({ name, observe: { lossBegin: () => undefined } }); // TS2353 an event that is in line only
callback({ name, observe: { stepEnds: () => undefined } }); // TS2561 a misspelt event that is observed
callback({ name, on: { stepEnd: 3 } }); // TS2322 a number as a handler
callback({ name, on: { stepEnd: (a: number, b: number) => void (a + b) } }); // TS2322 a handler with arguments of its own

// Observers come when the step is over.
callback({ name, access: { step: "write" }, observe: { stepEnd: ({ step }) => step } }); // TS2339 an observer with the step
callback({ name, access: { model: "write" }, observe: { epochEnd: ({ model }) => model } }); // TS2339 an observer with the model
callback({ name, access: { optimizer: "read" }, observe: { fitEnd: ({ optimizer }) => optimizer } }); // TS2339 an observer with the optimizer
callback({ name, observe: { stepEnd: ({ control }) => control.cancel("fit") } }); // TS2339 an observer that cancels without access
callback({ name, observe: { epochEnd: ({ values }) => values } }); // TS2339 values of an epoch
callback({ name, observe: { stepEnd: ({ values }) => void (values.loss = 0) } }); // TS2540 writing values
callback({ name, observe: { stepEnd: ({ values }) => values.loss.item() } }); // TS2339 a number as a tensor

// Access.
callback({ name, access: { modle: "read" } }); // TS2561 misspelt
callback({ name, access: { worker: "read" } }); // TS2353 what is not to be had
callback({ name, access: { step: { lss: "read" } } }); // TS2561 a misspelt key of the step
callback({ name, access: { step: { grads: "read" } } }); // TS2353 a key that no step has
callback({ name, access: { state: { histroy: "read" } } }); // TS2561 misspelt state
callback({ name, access: { state: { best: "write" } } }); // TS2353 state that nobody has declared
callback({ name, access: { state: "read" } }); // TS2559 state as a whole
callback({ name, access: { step: "raed" } }); // TS2322 a mode that is none
callback({ name, access: { step: { loss: "rw" } } }); // TS2322 a mode that is none, of a key
callback({ name, access: { control: "read" } }); // TS2322 control that is read
callback({ name, access: "read" }); // TS2559 a mode as access

// Measuring.
callback({ name, access: { step: "use" }, measure: async ({ step }) => ({ loss: step.loss }) }); // TS2322 an async measure
callback({ name, measure: ({ step }) => ({ loss: step.loss }) }); // TS2339 measuring without access
callback({ name, access: { step: { loss: "use" } }, measure: ({ step }) => ({ ys: step.ys }) }); // TS2339 measuring another key
callback({ name, access: { step: "use" }, measure: ({ step }) => step.loss }); // TS2322 measuring without names
callback({ name, measure: () => ({ epoch: "1" }) }); // TS2322 measuring a string

// The callback itself.
callback({ on: {} }); // TS2741 without a name
callback({ name: 3 }); // TS2322 a number as a name
callback({ name, acess: {} }); // TS2561 a misspelt part
callback({ name, phase: "training" }); // TS2322 the name of a phase
callback({ name, phase: new ValidationPhase() }); // TS2322 a phase instead of its class
callback({ name, runAfter: "Recorder" }); // TS2322 one name as several
callback({ name, access: { control: "write" }, on: { epochEnd: ({ control }) => control.cancel("fitting") } }); // TS2345 cancelling what is none
callback({ name, access: { control: "write" }, on: { epochEnd: ({ control }) => control.stop() } }); // TS2339 a method that control does not have

new CustomCallback("stepEndd", () => undefined); // TS2345 a misspelt event
new CustomCallback("stepEnd", ({ step }) => step); // TS2339 a step without access
new CustomCallback("stepEnd", ({ step }) => step.loss, { access: { step: { ys: "read" } } }); // TS2339 another key
new CustomCallback("lossBegin", ({ step }) => step.loss, { access: { step: "read" } }); // TS2339 the loss before there is one
new CustomCallback("epochEnd", ({ control }) => control.cancel("fit")); // TS2339 control without access
new CustomCallback("stepEnd", () => undefined, { phases: ValidationPhase }); // TS2561 a misspelt option
new CustomCallback("stepEnd"); // TS2554 without a handler

// The fields of a class are held to its access as a literal is.
class Held extends CallbackObject {
  override readonly name = "Held";
  override readonly access = { step: { group: "use" }, state: { history: "read" } } as const;
  override readonly on: Handlers<Held["access"]> = {
    stepBegin: ({ step }) => step.xs, // TS2339 a key of the step that a class has no access to
    stepEnd: ({ model }) => model, // TS2339 a model that a class has no access to
    epochEnd: ({ state }) => void (state.history = {}), // TS2540 state that a class reads
  };
}
void Held;
callback({ name, access: { step: { group: "write" } } }); // TS2322 a group that is written
callback({ name, access: { step: { group: "use" } }, on: { epochEnd: ({ step }) => step } }); // TS2339 a group without a step
