/** Optimisers as values: the operation that each becomes, and its options. */
import { describe, expect, test } from "vitest";
import { adam, adamW, kw, py, sgd } from "torchwire";
import type { OptimizerSpec } from "torchwire/optim";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { recorded } from "../recorded.ts";
import { unchecked } from "../../tiny.ts";

/** The operations by which `write` makes an optimiser of a model. */
const written = (write: (torch: AnyRef, model: AnyRef) => unknown): unknown[] =>
  recorded((worker) => {
    const model = untyped(worker, "net").Net();
    return write(untyped(worker, "torch"), model);
  });
const made = (spec: OptimizerSpec): unknown[] =>
  recorded((worker) => {
    const model = untyped(worker, "net").Net();
    return spec.create(worker, model);
  });

describe("without groups, it is the operation that one would have written", () => {
  const float = py.float;
  test.each<[string, OptimizerSpec, (torch: AnyRef, model: AnyRef) => unknown]>([
    ["no options", adamW(), (torch, model) => torch.optim.AdamW(model.parameters())],
    ["no groups", adamW({ groups: {} }), (torch, model) => torch.optim.AdamW(model.parameters())],
    ["an undefined one", sgd(unchecked({ lr: undefined })), (torch, model) => torch.optim.SGD(model.parameters())],
    [
      "all of sgd's, in the order given",
      sgd({
        lr: 1,
        momentum: 0.9,
        dampening: 0,
        weightDecay: 1e-4,
        nesterov: true,
        maximize: false,
        foreach: true,
        differentiable: false,
        fused: false,
      }),
      (torch, model) =>
        torch.optim.SGD(
          model.parameters(),
          kw({
            lr: float(1),
            momentum: 0.9,
            dampening: float(0),
            weight_decay: 1e-4,
            nesterov: true,
            maximize: false,
            foreach: true,
            differentiable: false,
            fused: false,
          }),
        ),
    ],
    [
      "all of adam's",
      adam({
        lr: 1e-3,
        betas: [0, 0.9],
        eps: 1e-6,
        weightDecay: 1,
        amsgrad: true,
        capturable: false,
        foreach: false,
        fused: true,
        maximize: true,
        differentiable: true,
      }),
      (torch, model) =>
        torch.optim.Adam(
          model.parameters(),
          kw({
            lr: 1e-3,
            betas: py.tuple(float(0), 0.9),
            eps: 1e-6,
            weight_decay: float(1),
            amsgrad: true,
            capturable: false,
            foreach: false,
            fused: true,
            maximize: true,
            differentiable: true,
          }),
        ),
    ],
  ])("%s", (_what, spec, write) => {
    // A float is a token of its own where it is integral; elsewhere a number is one.
    expect(simple(made(spec))).toEqual(simple(written(write)));
  });

  /** py.float(0.9) and 0.9 are both 0.9 in Python. */
  const simple = (token: unknown): unknown => {
    if (Array.isArray(token) && token.length === 2 && token[0] === 6 && token[1] instanceof Uint8Array) {
      const value = new DataView(token[1].buffer).getFloat64(0, true);
      return Number.isInteger(value) ? `${value}.0` : value;
    }
    if (Array.isArray(token)) return token.map(simple);
    if (typeof token === "object" && token !== null)
      return Object.fromEntries(Object.entries(token).map(([name, value]) => [name, simple(value)]));
    return token;
  };
});

describe("options are checked when the spec is made", () => {
  test.each<[string, () => unknown, RegExp]>([
    [
      "an unknown one",
      () => adamW(unchecked({ weight_decay: 0.1 })),
      /^adamW has no option "weight_decay"; it has lr, betas, eps, weightDecay, amsgrad, maximize, foreach, .*, groups$/,
    ],
    [
      "another optimiser's",
      () => sgd(unchecked({ betas: [0, 1] })),
      /^sgd has no option "betas"; it has lr, momentum, /,
    ],
    ["a string as a float", () => sgd(unchecked({ lr: "0.1" })), /^sgd: lr is '0\.1'; it must be a number$/],
    ["null as a float", () => sgd(unchecked({ lr: null })), /^sgd: lr is null; it must be a number$/],
    ["a number as a flag", () => sgd(unchecked({ nesterov: 1 })), /^sgd: nesterov is 1; it must be true or false$/],
    [
      "one beta",
      () => adam(unchecked({ betas: [0.9] })),
      /^adam: betas is \[ 0\.9 \]; it must be an array of two numbers$/,
    ],
    [
      "strings as betas",
      () => adam(unchecked({ betas: ["0", 1] })),
      /^adam: betas is \[ '0', 1 \]; it must be an array/,
    ],
    ["a number as options", () => sgd(unchecked(0.1)), /^sgd takes an object of options, not 0\.1$/],
    ["null as options", () => sgd(unchecked(null)), /^sgd takes an object of options, not null$/],
    [
      "an unknown one of a group",
      () => sgd({ groups: { head: unchecked({ params: () => undefined, lR: 1 }) } }),
      /^sgd: group "head" has no option "lR"; it has lr, momentum, /,
    ],
    [
      "a wrong one of a group",
      () => sgd({ groups: { head: unchecked({ params: () => undefined, lr: [1] }) } }),
      /^sgd: group "head": lr is \[ 1 \]; it must be a number$/,
    ],
    [
      "a group without params",
      () => sgd({ groups: { head: unchecked({ lr: 1 }) } }),
      /^sgd: group "head": params is undefined; it must be a function of the model: \(m\) => m\.fc\.parameters\(\)$/,
    ],
    [
      "a group that is none",
      () => sgd({ groups: { head: unchecked(null) } }),
      /^sgd: group "head" is null; it must be \{ params/,
    ],
    [
      "groups that are a list",
      () => sgd({ groups: unchecked([]) }),
      /^sgd: groups is \[\]; it must be an object of groups/,
    ],
    [
      "a group called default",
      () => sgd({ groups: { default: { params: (m) => m, lr: 1 } } }),
      /^sgd: group "default" holds all parameters that no other group has: its options are those of sgd$/,
    ],
  ])("%s", async (_what, run, message) => {
    const error = await caught(run);
    expect(error.message).toMatch(message);
    expect(error.code).toBe("MISUSE");
  });
});
