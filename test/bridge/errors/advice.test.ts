/** An item that is asked for in JavaScript's way: the error says what to write, and what there is. */
import { beforeAll, describe, expect, test } from "vitest";
import { py, type Worker } from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, operationsOf, untyped } from "../../observed.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let names: AnyRef;

const PYTHON = `
import collections, dataclasses, typing
import torch
from torch import nn

class ModelOutput(collections.OrderedDict):
    """As Hugging Face's: attributes are keys, as long as there are any."""
    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError

class Batch(collections.UserDict):
    pass

@dataclasses.dataclass
class Outputs:
    logits: typing.Any
    hidden: typing.Any

Point = collections.namedtuple("Point", "x y")

def one(d): return d.out
x = torch.ones(2, 3)
plain = {"aux": x, "out": x}
many = {f"k{i}": i for i in range(20)}
empty = {}
numbers = {3: x}
hidden = {"values": x}
size = {"size": 3}
output = ModelOutput(logits=x)
batch = Batch(ids=x)
heads = nn.ModuleDict({"cls": nn.Linear(1, 1)})
parameters = nn.ParameterDict({"w": x})
layers = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
sequential = nn.Sequential(nn.Linear(1, 1))
items = [x]
pair = (x, x)
outputs = Outputs(x, x)
point = Point(x, x)
linear = nn.Linear(1, 1)
`;

beforeAll(async () => {
  worker = await warmWorker();
  const builtins = untyped(worker, "builtins");
  names = await builtins.dict();
  await builtins.exec(PYTHON, names);
});

const of = (name: string): AnyRef => py.at(names, name);
const said = async (run: () => unknown): Promise<string> => (await caught(async () => await run())).message;

describe("a value of a dict is asked for as an attribute", () => {
  test.for<[what: string, (of: (name: string) => AnyRef) => unknown, ...text: string[]]>([
    ["by its key", (of) => of("plain")["out"], "it is a dict with the keys 'out', 'aux'", 'py.at(yhat, "out")'],
    ["in a chain", (of) => of("plain")["out"].mean(), 'py.at(yhat, "out")'],
    ["by another key", (of) => of("plain").logits, "the keys 'aux', 'out'", 'py.at(yhat, "aux")'],
    ["among many", (of) => of("many").k15, "the keys 'k15', 'k0'", "'k6' and 12 more", 'py.at(yhat, "k15")'],
    ["by a number", (of) => of("numbers").out, "the keys 3", "py.at(yhat, 3)"],
    [
      "by a name that dicts have",
      (of) => of("hidden")["values"].mean(),
      "it is the method values",
      'py.at(yhat, "values")',
    ],
    ["by a name that JavaScript has, too", (of) => of("size").size, 'py.at(yhat, "size")'],
    [
      "of a model's output",
      (of) => of("output").last_hidden_state,
      "it is a ModelOutput with",
      'py.at(yhat, "logits")',
    ],
    ["of a dict of the user's", (of) => of("batch").ids, "it is a Batch with the keys 'ids'", 'py.at(yhat, "ids")'],
    ["of a ModuleDict", (of) => of("heads").box, "it is a ModuleDict with the keys 'cls'", 'py.at(yhat, "cls")'],
    ["of a ParameterDict", (of) => of("parameters").b, "it is a ParameterDict with the keys 'w'", 'py.at(yhat, "w")'],
    ["in Python", (of) => of("one")(of("plain")), 'py.at(yhat, "out")'],
  ])("%s", async ([, run, ...texts]) => {
    const message = await said(() => run(of));
    expect(message).toContain("AttributeError");
    for (const text of texts) expect(message).toContain(text);
  });

  test("set and deleted", async () => {
    for (const [run, text] of [
      [(): unknown => py.set(of("plain"), "out", 1), 'py.setAt(x, "out", value)'],
      [(): unknown => py.del(of("plain"), "out"), 'py.delAt(x, "out")'],
    ] as const) {
      const message = await said(run);
      expect(message).toContain("it is a dict with the keys 'out', 'aux'");
      expect(message).toContain(text);
    }
  });

  test("by a key with dots is refused here, and costs nothing; others that Python does not have are undefined", async () => {
    const state = await of("plain");
    const queued = await operationsOf(worker, async () => {
      expect(await said(() => state["layer1.0.conv1.weight"])).toContain(
        '"layer1.0.conv1.weight" is no attribute; an item is py.at(ref, "layer1.0.conv1.weight")',
      );
      expect(await said(() => void (state["fc.weight"] = 1))).toContain('py.setAt(ref, "fc.weight", value)');
    });
    expect(queued).toBe(0);
  });
});

describe("a name of JavaScript's containers", () => {
  test.for<[string, (of: (name: string) => AnyRef) => unknown, string]>([
    ["layers.at(0)", (of) => of("layers").at(0), "an item is x[0], or py.at(x, index)"],
    ["layers.length", (of) => of("layers").length, "await py.len(x)"],
    ["layers.map", (of) => of("layers").map(1), "for await (const item of x)"],
    ["sequential.slice", (of) => of("sequential").slice(0, 1), "py.at(x, py.slice(start, stop))"],
    ["items.push", (of) => of("items").push(1), "x.append(item)"],
    ["items.includes", (of) => of("items").includes(1), 'py.op("in", item, x)'],
    ["pair.forEach", (of) => of("pair").forEach(1), "for await (const item of x)"],
    ["plain.has", (of) => of("plain").has("out"), 'py.op("in", item, x)'],
    ["plain.set", (of) => of("plain").set("out", 1), "py.setAt(x, index, value)"],
    ["empty.size", (of) => of("empty").size, "await py.len(x)"],
    ["point.length", (of) => of("point").length, "await py.len(x)"],
    ["x.length", (of) => of("x").length, "await py.len(x)"],
    ["x.map", (of) => of("x").map(1), "for await (const item of x)"],
    ["parameters().map", (of) => of("linear").parameters().map(1), "for await (const item of x)"],
  ])("%s", async ([, run, text]) => {
    const message = await said(() => run(of));
    expect(message).toMatch(/(\w+) is a name of JavaScript's\. In Python /);
    expect(message).toContain(text);
  });

  test("of what is no container says nothing of it", async () => {
    expect(await said(() => of("linear").length)).not.toContain("JavaScript");
    expect(await said(() => of("outputs").map)).not.toContain("JavaScript");
  });
});

describe("a value of several", () => {
  test.for<[string, (of: (name: string) => AnyRef) => unknown, string]>([
    ["a tuple", (of) => of("pair").mean(), "A tuple has several values: take one of them, py.at(yhat, 0)."],
    ["a list", (of) => of("items").mean(), "A list has several values: take one of them, py.at(yhat, 0)."],
    ["a named tuple", (of) => of("point").z, "Its values have names: yhat.x."],
    ["a dataclass", (of) => of("outputs").out, "its fields are logits, hidden"],
  ])("is one in %s", async ([, run, text]) => {
    expect(await said(() => run(of))).toContain(text);
  });
});

describe("an item", () => {
  test.for<[string, (of: (name: string) => AnyRef) => unknown, ...text: string[]]>([
    ["of a dict without that key", (of) => py.at(of("plain"), "logits"), "KeyError", "with the keys 'aux', 'out'"],
    ["of an empty dict", (of) => py.at(of("empty"), "out"), "KeyError", "it is a dict without keys"],
    ["of a ModuleDict", (of) => py.at(of("heads"), "box"), "KeyError", "it is a ModuleDict with the keys 'cls'"],
    ["past the end of a list", (of) => of("items")[3], "IndexError", "it is a list of 1"],
    ["past the end of a ModuleList", (of) => of("layers")[3], "IndexError", "it is a ModuleList of 2"],
    [
      "of a ModuleList by a name",
      (of) => py.at(of("layers"), "fc"),
      "it is a ModuleList of 2, and the index is text",
      "py.at(x, 0)",
    ],
    ["of a list by a name", (of) => py.at(of("items"), "fc"), "it is a list of 1, and the index is text", "x.name"],
    [
      "of a module",
      (of) => py.at(of("linear"), "weight"),
      "not subscriptable",
      "It has attributes and no items: x.name",
    ],
    ["of an iterator", (of) => of("linear").parameters()[0], "not subscriptable", "for await (const item of x)"],
    ["of a view of a dict", (of) => of("plain").values()[0], "not subscriptable", "for await (const item of x)"],
    ["of a method", (of) => of("plain").values[0], "not subscriptable", "It is a method: call it"],
  ])("%s", async ([, run, ...texts]) => {
    const message = await said(() => run(of));
    for (const text of texts) expect(message).toContain(text);
  });
});
