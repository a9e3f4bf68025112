/** Flux's optimisers and its chains against their closed forms, written out in JavaScript, in loops by hand. */
import { beforeAll, describe, expect, test } from "vitest";
import { adam, adamW, py, sgd, type Worker } from "torchwire";
import { adaDelta, adaGrad, adaMax, descent, momentum, nesterov, rmsProp } from "torchwire/flux";
import {
  adafactor,
  asgd,
  chain,
  clipNorm,
  clipValue,
  expDecay,
  invDecay,
  lbfgs,
  rprop,
  weightDecay,
  type OptimizerSpec,
} from "torchwire/optim";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, operationsOf, untyped } from "../../observed.ts";
import { unchecked } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

const { abs, hypot, max, min, sqrt, sign } = Math;

/**
 * Makes of a gradient, of a parameter that is x, what is taken off x: of a list of them, as Flux has each parameter by
 * itself.
 */
type Rule = (gradient: readonly number[], x: readonly number[]) => number[];
/** A rule of each element, with a state of its own. */
const elementwise =
  (start: () => (gradient: number, x: number) => number): (() => Rule) =>
  () => {
    const states = new Map<number, (gradient: number, x: number) => number>();
    return (gradient, x) =>
      gradient.map((value, i) => {
        const state = states.get(i) ?? start();
        states.set(i, state);
        return state(value, x[i]!);
      });
  };

// Flux's, as its source has them (src/optimise/optimisers.jl).
const EPS = 1e-8;
const fluxDescent = (eta: number): (() => Rule) => elementwise(() => (g) => eta * g);
const fluxMomentum = (eta: number, rho: number): (() => Rule) =>
  elementwise(() => {
    let v = 0;
    return (g) => -(v = rho * v - eta * g);
  });
const fluxNesterov = (eta: number, rho: number): (() => Rule) =>
  elementwise(() => {
    let v = 0;
    return (g) => {
      const d = rho ** 2 * v - (1 + rho) * eta * g;
      v = rho * v - eta * g;
      return -d;
    };
  });
const fluxRmsProp = (eta: number, rho: number, eps = EPS): (() => Rule) =>
  elementwise(() => {
    let acc = 0;
    return (g) => {
      acc = rho * acc + (1 - rho) * g ** 2;
      return (g * eta) / (sqrt(acc) + eps);
    };
  });
const fluxAdaMax = (eta: number, [b1, b2]: readonly [number, number]): (() => Rule) =>
  elementwise(() => {
    let [m, u, power] = [0, 0, b1];
    return (g) => {
      m = b1 * m + (1 - b1) * g;
      u = max(b2 * u, abs(g));
      const step = ((eta / (1 - power)) * m) / (u + EPS);
      power *= b1;
      return step;
    };
  });
const fluxAdaGrad = (eta: number, eps = EPS): (() => Rule) =>
  elementwise(() => {
    let acc = eps;
    return (g) => {
      acc += g ** 2;
      return (g * eta) / (sqrt(acc) + eps);
    };
  });
const fluxAdaDelta = (rho: number, eps = EPS): (() => Rule) =>
  elementwise(() => {
    let [acc, delta] = [0, 0];
    return (g) => {
      acc = rho * acc + (1 - rho) * g ** 2;
      const step = (g * sqrt(delta + eps)) / sqrt(acc + eps);
      delta = rho * delta + (1 - rho) * step ** 2;
      return step;
    };
  });
const fluxAdam = (eta: number, [b1, b2]: readonly [number, number] = [0.9, 0.999]): (() => Rule) =>
  elementwise(() => {
    let [m, v, p1, p2] = [0, 0, b1, b2];
    return (g) => {
      m = b1 * m + (1 - b1) * g;
      v = b2 * v + (1 - b2) * g ** 2;
      const step = (m / (1 - p1) / (sqrt(v / (1 - p2)) + EPS)) * eta;
      [p1, p2] = [p1 * b1, p2 * b2];
      return step;
    };
  });
const fluxWeightDecay = (wd: number): (() => Rule) => elementwise(() => (g, x) => g + wd * x);
const fluxClipValue = (limit: number): (() => Rule) => elementwise(() => (g) => max(-limit, min(limit, g)));
const fluxClipNorm =
  (limit: number): (() => Rule) =>
  () =>
  (g) => {
    const norm = hypot(...g);
    return norm > limit ? g.map((value) => (value * limit) / norm) : [...g];
  };
const fluxInvDecay = (gamma: number): (() => Rule) =>
  elementwise(() => {
    let n = 1;
    return (g) => g / (1 + gamma * n++);
  });
const fluxExpDecay = (eta: number, decay: number, every: number, clip: number, start = 0): (() => Rule) =>
  elementwise(() => {
    let [n, present] = [0, eta];
    return (g) => {
      n++;
      if (n > start && n % every === 0) present = max(present * decay, clip);
      return g * present;
    };
  });
/** Flux's Optimiser: each takes what the one before has made. */
const fluxChain =
  (...rules: (() => Rule)[]): (() => Rule) =>
  () => {
    const made = rules.map((rule) => rule());
    return (gradient, x) => made.reduce((found, rule) => rule(found, x), [...gradient]);
  };

const STEPS = 12;
const start: readonly (readonly number[])[] = [
  [1, -2, 0.5],
  [0.3, 0.8],
];
/** Gradients of step n, whatever the parameters: some large, some small, some of another sign. */
const gradientsOf = (n: number): number[][] => [
  [sign(n - 4.5) * 2 + 0.1 * n, 0.3, -0.05 * n],
  [0.02, n % 2 === 0 ? 0.7 : -0.4],
];

function closedForm(rule: () => Rule): number[][] {
  const rules = start.map(() => rule());
  const parameters = start.map((one) => [...one]);
  for (let n = 1; n <= STEPS; n++)
    for (const [p, gradient] of gradientsOf(n).entries()) {
      const taken = rules[p]!(gradient, parameters[p]!);
      parameters[p] = parameters[p]!.map((value, i) => value - taken[i]!);
    }
  return parameters;
}

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

interface Made {
  readonly parameters: AnyRef;
  readonly model: AnyRef;
}
function parametersOf(values: readonly (readonly number[])[] = start): Made {
  const model = torch.nn.ParameterList(values.map((one) => torch.nn.Parameter(worker.tensor(one as number[]))));
  return { model, parameters: model };
}

function take(optimizer: AnyRef, { parameters }: Made, n: number): void {
  optimizer.zero_grad();
  const [first, second] = gradientsOf(n).map((gradient) => worker.tensor(gradient) as unknown as AnyRef);
  const loss = py.at(parameters, 0).mul(first).sum().add(py.at(parameters, 1).mul(second).sum());
  loss.backward();
  optimizer.step();
}

async function valuesOf({ parameters }: Made): Promise<number[][]> {
  const arrays = await Promise.all([0, 1].map((i) => py.ndarray(py.at(parameters, i).detach())));
  return arrays.map(({ data }) => Array.from(data as Float32Array));
}

async function byHand(spec: OptimizerSpec): Promise<number[][]> {
  const made = parametersOf();
  const optimizer = spec.create(worker, made.model);
  for (let n = 1; n <= STEPS; n++) take(optimizer, made, n);
  return valuesOf(made);
}

test.each<[string, OptimizerSpec, () => Rule]>([
  ["Descent", descent(), fluxDescent(0.1)],
  ["Momentum", momentum(), fluxMomentum(0.01, 0.9)],
  ["Momentum of its own", momentum(0.1, 0.5), fluxMomentum(0.1, 0.5)],
  ["Nesterov", nesterov(), fluxNesterov(0.001, 0.9)],
  ["Nesterov of its own", nesterov(0.1, 0.5), fluxNesterov(0.1, 0.5)],
  ["RMSProp", rmsProp(), fluxRmsProp(0.001, 0.9)],
  ["RMSProp of its own", rmsProp(0.1, 0.5, 0.2), fluxRmsProp(0.1, 0.5, 0.2)],
  ["Adam", adam(), fluxAdam(0.001)],
  ["AdaMax", adaMax(), fluxAdaMax(0.001, [0.9, 0.999])],
  ["AdaMax of its own", adaMax(0.1, [0.5, 0.8]), fluxAdaMax(0.1, [0.5, 0.8])],
  ["AdaGrad", adaGrad(), fluxAdaGrad(0.1)],
  ["AdaGrad of its own", adaGrad(0.2, 0.3), fluxAdaGrad(0.2, 0.3)],
  ["AdaDelta", adaDelta(), fluxAdaDelta(0.9)],
  ["AdaDelta of its own", adaDelta(0.5, 0.1), fluxAdaDelta(0.5, 0.1)],

  ["WeightDecay", chain(weightDecay(0.5), descent()), fluxChain(fluxWeightDecay(0.5), fluxDescent(0.1))],
  ["ClipValue", chain(clipValue(0.5), descent()), fluxChain(fluxClipValue(0.5), fluxDescent(0.1))],
  ["ClipNorm, of each parameter", chain(clipNorm(1), descent()), fluxChain(fluxClipNorm(1), fluxDescent(0.1))],
  ["InvDecay", chain(invDecay(0.2), momentum(0.1)), fluxChain(fluxInvDecay(0.2), fluxMomentum(0.1, 0.9))],
  [
    "ExpDecay, to its least value",
    chain(expDecay(0.5, 0.1, 3, 0.02), descent(1)),
    fluxChain(fluxExpDecay(0.5, 0.1, 3, 0.02), fluxDescent(1)),
  ],
  [
    "ExpDecay that starts late",
    chain(expDecay(0.5, 0.5, 3, 0.02, 6), descent(1)),
    fluxChain(fluxExpDecay(0.5, 0.5, 3, 0.02, 6), fluxDescent(1)),
  ],
  [
    "all of them",
    chain(weightDecay(0.1), clipValue(0.5), clipNorm(0.6), expDecay(0.9, 0.5, 4, 0.1), adam({ lr: 0.1 })),
    fluxChain(
      fluxWeightDecay(0.1),
      fluxClipValue(0.5),
      fluxClipNorm(0.6),
      fluxExpDecay(0.9, 0.5, 4, 0.1),
      fluxAdam(0.1),
    ),
  ],
  [
    "in another order",
    chain(clipNorm(0.6), weightDecay(0.1), clipValue(0.5), adam({ lr: 0.1 })),
    fluxChain(fluxClipNorm(0.6), fluxWeightDecay(0.1), fluxClipValue(0.5), fluxAdam(0.1)),
  ],
  [
    "a decay behind the optimizer",
    chain(adam({ lr: 0.1 }), expDecay(0.5, 0.1, 3, 0.02)),
    fluxChain(fluxAdam(0.1), fluxExpDecay(0.5, 0.1, 3, 0.02)),
  ],
  [
    "Flux's AdamW, whose decay the learning rate does not scale",
    chain(adam({ lr: 0.1 }), weightDecay(0.05)),
    fluxChain(fluxAdam(0.1), fluxWeightDecay(0.05)),
  ],
  [
    "both behind the optimizer, before one another",
    chain(momentum(0.1), weightDecay(0.05), invDecay(0.3), weightDecay(0.01)),
    fluxChain(fluxMomentum(0.1, 0.9), fluxWeightDecay(0.05), fluxInvDecay(0.3), fluxWeightDecay(0.01)),
  ],
])("%s is Flux's", async (_name, spec, rule) => {
  const [found, expected] = [await byHand(spec), closedForm(rule)];
  for (const [p, values] of expected.entries())
    for (const [i, value] of values.entries())
      expect(abs(found[p]![i]! - value)).toBeLessThan(2e-6 * max(1, abs(value)));
});

describe("a chain in the worker", () => {
  const decaying = (): OptimizerSpec => chain(descent(), expDecay(1, 0.5, 3, 0.01));

  test("a step is one operation, as of the optimizer alone", async () => {
    const spec = chain(weightDecay(0.1), clipNorm(1), adam(), invDecay());
    const made = parametersOf();
    const optimizer = await spec.create(worker, made.model);
    expect(await operationsOf(worker, () => void optimizer.step())).toBe(1);
    expect(await py.isInstance(optimizer, torch.optim.Adam)).toBe(true);
    expect(spec.name).toBe("Adam");
  });

  test("learning rates are as they were after each step, and can be changed between", async () => {
    const made = parametersOf();
    const optimizer = decaying().create(worker, made.model);
    const group = py.at(optimizer.param_groups, 0);
    for (let n = 1; n <= 4; n++) take(optimizer, made, n);
    expect(await py.at(group, "lr")).toBe(0.1);
    py.setAt(group, "lr", 0.2);
    take(optimizer, made, 5);
    expect(await py.at(group, "lr")).toBe(0.2);
    const scale = (n: number): number => (n < 3 ? 0.1 : n < 5 ? 0.05 : 0.1);
    const expected = start[1]![0]! - [1, 2, 3, 4, 5].map((n) => scale(n) * 0.02).reduce((a, b) => a + b);
    expect((await valuesOf(made))[1]![0]).toBeCloseTo(expected, 6);
  });

  test("and after a step that failed", async () => {
    const made = parametersOf();
    const optimizer = chain(descent(), expDecay(0.5, 0.5, 100)).create(worker, made.model);
    const group = py.at(optimizer.param_groups, 0);
    py.setAt(group, "weight_decay", "none");
    take(optimizer, made, 1);
    expect((await caught(() => py.settle(optimizer.state))).message).toMatch(/TypeError/);
    py.setAt(group, "weight_decay", 0);
    take(optimizer, made, 2);
    expect(await py.at(group, "lr")).toBe(0.1);
    expect((await valuesOf(made))[1]![0]).toBeCloseTo(start[1]![0]! - 0.05 * 0.02, 6);
  });

  test("how far the decays are is in the state_dict", async () => {
    const [whole, parts] = [parametersOf(), parametersOf()];
    const without = decaying().create(worker, whole.model);
    let optimizer = decaying().create(worker, parts.model);
    for (let n = 1; n <= 8; n++) {
      take(without, whole, n);
      if (n === 5) {
        const state = optimizer.state_dict();
        optimizer = decaying().create(worker, parts.model);
        optimizer.load_state_dict(state);
      }
      take(optimizer, parts, n);
    }
    expect(await valuesOf(parts)).toEqual(await valuesOf(whole));
  });

  test("parameters without gradients stay", async () => {
    const made = parametersOf();
    const optimizer = chain(weightDecay(0.1), clipNorm(1), descent(), weightDecay(0.1)).create(worker, made.model);
    py.at(made.parameters, 0).sum().backward();
    optimizer.step();
    const [first, second] = await valuesOf(made);
    expect(second).toEqual(start[1]!.map(Math.fround));
    expect(first).not.toEqual(start[0]);
  });

  test("refuses gradients that are still scaled for float16", async () => {
    const optimizer = chain(clipNorm(1), descent()).create(worker, parametersOf().model);
    optimizer.grad_scale = torch.ones(1);
    const error = await caught(() => optimizer.step());
    expect(error.message).toMatch(/still scaled for float16: call scaler\.unscale_\(optimizer\) before/);
  });

  test("weights do not decay in two ways", async () => {
    const error = await caught(() => chain(adamW(), weightDecay(0.1)).create(worker, parametersOf().model));
    expect(error.message).toMatch(/ValueError: weightDecay after an optimiser that has a weight decay of its own/);
  });
});

test.each<[string, () => unknown, RegExp]>([
  ["no optimizer", () => chain(clipNorm(1)), /^chain: it has no optimizer; write chain\(clipNorm\(1\), adam\(\)\)$/],
  ["nothing", () => chain(), /^chain: it has no optimizer/],
  ["two", () => chain(sgd(), clipNorm(1), adam()), /^chain: it has two optimizers, SGD and Adam; it must have one$/],
  ["two, in chains", () => chain(chain(sgd()), chain(clipNorm(1), adam())), /^chain: it has two optimizers/],
  [
    "what is no part",
    () => chain(unchecked(0.5), adam()),
    /^chain: 0\.5 is neither a part, such as clipNorm\(1\), nor/,
  ],
  ["a part that was not called", () => chain(unchecked(clipNorm), adam()), /^chain: \[Function: clipNorm\] is neither/],
  ["null", () => chain(unchecked(null), adam()), /^chain: null is neither a part/],
  ["clipping of an update", () => chain(adam(), clipValue(1)), /^chain: clipValue must come before Adam; an update/],
  ["lbfgs", () => chain(clipNorm(1), lbfgs()), /^chain: LBFGS computes new gradients within a step, where no part/],
  ["decays behind rprop", () => chain(rprop(), invDecay()), /^chain: invDecay must come before Rprop, whose update/],
  ["decays behind asgd", () => chain(asgd(), weightDecay(1)), /^chain: weightDecay must come before ASGD/],
  ["decays behind adafactor", () => chain(adafactor(), invDecay()), /^chain: invDecay must come before Adafactor/],
  ["a negative decay", () => weightDecay(-1), /^weightDecay: wd is -1; it must be a number from 0$/],
  ["a limit of 0", () => clipNorm(0), /^clipNorm: threshold is 0; it must be a number above 0$/],
  [
    "no limit",
    () => clipValue(unchecked(undefined)),
    /^clipValue: threshold is undefined; it must be a number above 0$/,
  ],
  ["a string", () => expDecay(unchecked("1")), /^expDecay: eta is '1'; it must be a number from 0$/],
  ["half a step", () => expDecay(1, 0.1, 2.5), /^expDecay: decayStep must be a whole number from 1, and start/],
  ["NaN", () => invDecay(NaN), /^invDecay: gamma is NaN; it must be a number from 0$/],
  [
    "PyTorch's options by Flux's name",
    () => rmsProp(unchecked({ lr: 0.1 })),
    /^rmsProp takes Flux's arguments, rmsProp\(eta, rho, epsilon\), and not \{ lr: 0\.1 \}: PyTorch's options come after eta, rho/,
  ],
])("refuses %s", async (_what, run, message) => {
  const error = await caught(run);
  expect(error.message).toMatch(message);
  expect(error.code).toBe("MISUSE");
});
