/** Optimisers in a worker: what PyTorch gets of their options, and the groups of parameters that they make. */
import { beforeAll, describe, expect, test } from "vitest";
import { adam, adamW, kw, py, sgd, type Worker } from "torchwire";
import type { OptimizerOption, OptimizerSpec } from "torchwire/optim";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { toOptimizer } from "../../../client/optim/spec.ts";
import { caught, untyped } from "../../observed.ts";
import { unchecked } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

describe("in a worker", () => {
  let worker: Worker;
  let torch: AnyRef;
  let builtins: AnyRef;

  beforeAll(async () => {
    worker = await warmWorker();
    torch = untyped(worker, "torch");
    builtins = untyped(worker, "builtins");
  });

  /** body (weight, bias), norm (weight, bias), head (weight, bias). */
  const network = (): AnyRef => {
    const collections = untyped(worker, "collections");
    const layers = { body: torch.nn.Linear(4, 3), norm: torch.nn.LayerNorm(3), head: torch.nn.Linear(3, 2) };
    return torch.nn.Sequential(collections.OrderedDict(layers));
  };

  /** For each param_group its name, the names of its parameters, and some of its options. */
  async function groupsOf(model: AnyRef, optimizer: AnyRef, ...options: string[]): Promise<unknown> {
    const name = builtins.eval("lambda model: {id(p): name for name, p in model.named_parameters()}")(model);
    const read = builtins.eval(
      "lambda groups, names, options: [[g.get('name'), [names.get(id(p)) for p in g['params']], *(repr(g[o]) for o in options)] for g in groups]",
    );
    return py.js(read(optimizer.param_groups, name, options));
  }

  test("PyTorch's defaults are PyTorch's, and floats arrive as floats", async () => {
    const model = network();
    const spec = sgd({ lr: 1, momentum: 0, weightDecay: 1e-4 });
    const all = ["body.weight", "body.bias", "norm.weight", "norm.bias", "head.weight", "head.bias"];
    expect(await groupsOf(model, spec.create(worker, model), "lr", "momentum", "dampening", "weight_decay")).toEqual([
      [null, all, "1.0", "0.0", "0", "0.0001"],
    ]);
    expect(await groupsOf(model, adamW().create(worker, model), "lr", "betas", "eps", "weight_decay")).toEqual([
      [null, all, "0.001", "(0.9, 0.999)", "1e-08", "0.01"],
    ]);
    expect(await groupsOf(model, adam({ betas: [0, 0.9] }).create(worker, model), "betas", "weight_decay")).toEqual([
      [null, all, "(0.0, 0.9)", "0"],
    ]);
    expect(spec.name).toBe("SGD");
  });

  test("what is in no group is the group default, which comes first", async () => {
    const model = network();
    const spec = adamW({
      lr: 1e-3,
      weightDecay: 0.1,
      groups: {
        head: { params: (m) => m.head.parameters(), lr: 1 },
        plain: { params: (m) => [m.body.bias, m.norm], weightDecay: 0, betas: [0.5, 0.9] },
      },
    });
    expect(await groupsOf(model, spec.create(worker, model), "lr", "weight_decay", "betas")).toEqual([
      ["default", ["body.weight"], "0.001", "0.1", "(0.9, 0.999)"],
      ["head", ["head.weight", "head.bias"], "1.0", "0.1", "(0.9, 0.999)"],
      ["plain", ["body.bias", "norm.weight", "norm.bias"], "0.001", "0.0", "(0.5, 0.9)"],
    ]);
  });

  test("default is left out where it is empty, and a parameter mentioned twice in one group is there once", async () => {
    const model = network();
    const spec = sgd({
      lr: 0.1,
      groups: {
        rest: { params: (m) => [m.norm, m.head] },
        body: { params: (m) => [m.body.weight, m.body.parameters(), m.body] },
      },
    });
    expect(await groupsOf(model, spec.create(worker, model))).toEqual([
      ["rest", ["norm.weight", "norm.bias", "head.weight", "head.bias"]],
      ["body", ["body.weight", "body.bias"]],
    ]);
  });

  test("with groups, a step is that of the optimiser made by hand", async () => {
    const weights = async (make: (model: AnyRef) => AnyRef): Promise<unknown> => {
      torch.manual_seed(3);
      const model = network();
      const optimizer = make(model);
      for (let step = 0; step < 3; step++) {
        optimizer.zero_grad();
        model(torch.ones(2, 4)).pow(2).sum().backward();
        optimizer.step();
      }
      return py.js(model.state_dict());
    };
    const byHand = (model: AnyRef): AnyRef =>
      torch.optim.AdamW(
        [
          { params: model.body.parameters() },
          { params: model.norm.parameters(), lr: 0.1 },
          { params: [model.head.weight, model.head.bias] },
        ],
        kw({ lr: 0.01, weight_decay: 0.5 }),
      );
    const groups = { norm: { params: (m: AnyRef) => m.norm.parameters(), lr: 0.1 } };
    const found = await weights((model) => adamW({ lr: 0.01, weightDecay: 0.5, groups }).create(worker, model));
    expect(found).toEqual(await weights(byHand));
    expect(found).not.toEqual(await weights((model) => adamW({ lr: 0.01, weightDecay: 0.5 }).create(worker, model)));
  });

  test("groups that Python makes are PyTorch's, and lr_scale multiplies their rate", async () => {
    const model = network();
    const made = builtins.eval(
      "lambda model: [{'params': model.body.parameters(), 'lr_scale': 0.25}, {'params': model.norm.parameters(), 'lr': 0.5, 'lr_scale': 0.5, 'weight_decay': 0.0}, {'params': model.head.parameters()}]",
    );
    const spec = adamW({ lr: 1e-3, weightDecay: 0.1, groups: (m) => made(m) });
    expect(await groupsOf(model, spec.create(worker, model), "lr", "weight_decay")).toEqual([
      [null, ["body.weight", "body.bias"], "0.00025", "0.1"],
      [null, ["norm.weight", "norm.bias"], "0.25", "0.0"],
      [null, ["head.weight", "head.bias"], "0.001", "0.1"],
    ]);
  });

  test("groups that are a function must give a reference", async () => {
    const error = await caught(() => sgd({ groups: () => unchecked([1]) }).create(worker, network()));
    expect(error.message).toMatch(
      /^sgd: groups gave \[ 1 \]; a function must return a reference to param_groups, at once/,
    );
    expect(error.code).toBe("MISUSE");
  });

  test.each<[string, OptimizerSpec, RegExp]>([
    [
      "a parameter in two groups",
      sgd({ groups: { head: { params: (m) => m.head }, biases: { params: (m) => [m.body.bias, m.head.bias] } } }),
      /ValueError: the parameter "head\.bias" is in two groups, "head" and "biases"; each parameter has one/,
    ],
    [
      "a group of none",
      sgd({ groups: { empty: { params: () => torch.nn.ReLU().parameters() } } }),
      /ValueError: group "empty": params gave no parameters/,
    ],
    [
      "what is no parameter",
      sgd({ groups: { head: { params: (m) => m.head.out_features } } }),
      /TypeError: group "head": params gave int, which is no parameter, module or iterable of these/,
    ],
  ])("%s is an error of Python", async (_what, spec, message) => {
    const error = await caught(() => spec.create(worker, network()));
    expect(error.message).toMatch(message);
    expect(error).toMatchObject({ code: "NOT_RUN", cause: { code: "PYTHON" } });
  });

  test.each<[string, unknown, RegExp]>([
    ["nothing", undefined, /^sgd: group "head": params gave undefined; it must return references, at once/],
    ["a Promise", Promise.resolve(1), /^sgd: group "head": params gave a Promise; it must return references, at once/],
    ["an array of numbers", [1], /^sgd: group "head": params gave \[ 1 \]; it must return references, at once/],
  ])("params that give %s", async (_what, result, message) => {
    const spec = sgd({ groups: { head: { params: () => unchecked(result) } } });
    const error = await caught(() => spec.create(worker, network()));
    expect(error.message).toMatch(message);
    expect(error.code).toBe("MISUSE");
  });

  describe("toOptimizer", () => {
    test("makes a spec's", async () => {
      const model = network();
      const optimizer = toOptimizer(worker, sgd({ lr: 0.5 }), model);
      expect(await groupsOf(model, optimizer, "lr")).toMatchObject([[null, { length: 6 }, "0.5"]]);
      expect(await py.isInstance(optimizer, torch.optim.SGD)).toBe(true);
    });

    test("asks a function, with the model", async () => {
      const model = network();
      const optimizer = toOptimizer(worker, (m) => torch.optim.Adagrad(m.head.parameters()), model);
      expect(await groupsOf(model, optimizer)).toEqual([[null, ["head.weight", "head.bias"]]]);
    });

    test("takes a reference as it is", () => {
      const model = network();
      const optimizer = torch.optim.SGD(model.parameters());
      expect(toOptimizer(worker, optimizer, model)).toBe(optimizer);
    });

    test.each<[string, unknown, RegExp]>([
      [
        "an async function",
        async () => torch,
        /^the function that makes the optimizer gave a Promise; it must return a reference, at once/,
      ],
      ["a function of nothing", () => undefined, /^the function that makes the optimizer gave undefined; /],
      ["a factory that was not called", adamW, /^adamW takes an object of options, not \[PyRef #\d+/],
      [
        "a name",
        "adam",
        /^the optimizer is 'adam'; it must be adamW\(\{ … \}\) or its like, an optimizer in the worker, or a function$/,
      ],
      ["nothing", undefined, /^the optimizer is undefined; /],
    ])("refuses %s", async (_what, option, message) => {
      const error = await caught(() => void toOptimizer(worker, option as OptimizerOption, network()));
      expect(error.message).toMatch(message);
      expect(error.code).toBe("MISUSE");
    });
  });
});
