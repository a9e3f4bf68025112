/** Weights on their way between a file here and a module there. */
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { kw, py, type Worker } from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { freeze, unfreeze } from "../../../client/model/freeze.ts";
import { loadWeights } from "../../../client/weights/load.ts";
import { saveWeights } from "../../../client/weights/save.ts";
import { openSafetensors } from "../../../client/weights/safetensors.ts";
import { built } from "../../built.ts";
import { caught, countsOf, untyped } from "../../observed.ts";
import { testWorker, warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
let nn: AnyRef;
let safetensors: AnyRef;
let folder: string;
let path: string;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  nn = torch.nn;
  safetensors = untyped(worker, "safetensors.torch");
  folder = await mkdtemp(join(tmpdir(), "weights-"));
  // The .pt files here are the tests' own, and harmless to the oldest torch that is supported.
  await firstSafe(2, 6);
});
/** The first torch that may read .pt files. */
const firstSafe = (major: number, minor: number): Promise<unknown> =>
  py.set(untyped(worker, "torchwire_worker.helpers.pickled"), "_FIRST_SAFE", py.tuple(major, minor));

beforeEach(() => {
  path = join(folder, `${expect.getState().currentTestName!.replace(/\W+/g, "-").slice(-60)}.safetensors`);
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** The number and the hash of the bytes of every tensor in a dict, by name, in logical order. */
async function bitsOf(tensors: AnyRef): Promise<Record<string, string>> {
  const names = (await py.js(untyped(worker, "builtins").list(tensors))) as string[];
  const bits: Record<string, string> = {};
  for (const name of names) {
    const tensor = py.at(tensors, name);
    const { data } = await worker.scope(() => py.ndarray(tensor.contiguous().reshape(-1).view(torch.uint8)));
    bits[name] = `${data.length} ${createHash("sha256").update(data).digest("hex")}`;
  }
  return bits;
}

const stateOf = (module: AnyRef): Promise<Record<string, string>> => bitsOf(module.state_dict());

/** A module that has these tensors as its buffers. */
function holder(tensors: Record<string, AnyRef>): AnyRef {
  const module = nn.Module();
  for (const [name, tensor] of Object.entries(tensors)) module.register_buffer(name, tensor);
  return module;
}

/** The names that a piece of Python defines. */
function names(code: string): AnyRef {
  const { exec, dict } = untyped(worker, "builtins");
  const found = dict();
  exec(code, found);
  return found;
}

const DTYPES =
  "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool complex64 float8_e4m3fn float8_e5m2";

// First, while there is little garbage of which the collection could hide what is left.
test("nothing is left in the worker, whether it goes well or not", async () => {
  const file = join(folder, "left.pt");
  const [layer, other] = worker.scope(() => {
    const layers = [py.keep(nn.Linear(3, 4)), py.keep(nn.Linear(3, 5))] as const;
    torch.save(layers[0].state_dict(), file);
    return layers;
  });
  await saveWeights(layer, path);
  const { objects } = (await countsOf(worker)).worker;
  for (let i = 0; i < 20; i++) {
    await saveWeights(layer, path);
    await loadWeights(layer, path);
    await loadWeights(layer, file);
    await caught(() => saveWeights(layer, join(folder, "no", "where")));
    await caught(() => loadWeights(other, path));
    await caught(() => loadWeights(other, file));
    unfreeze(freeze(layer));
  }
  expect((await countsOf(worker)).worker.objects).toBeLessThanOrEqual(objects);
});

describe("round trips", () => {
  test("every dtype, a scalar, an empty tensor, and memory that is not in logical order", async () => {
    const values = torch.arange(24).remainder(5);
    const tensors: Record<string, AnyRef> = {
      scalar: torch.tensor(3.5),
      empty: torch.zeros(0, 3),
      transposed: values.float().reshape(4, 6).t(),
      last: values
        .float()
        .reshape(1, 2, 3, 4)
        .to(kw({ memory_format: torch.channels_last })),
    };
    for (const dtype of DTYPES.split(" ")) tensors[`of_${dtype}`] = values.reshape(2, 3, 4).to(torch[dtype]);
    const source = holder(tensors);
    const zeros = Object.entries(tensors).map(([name, tensor]) => [name, torch.zeros_like(tensor)] as const);
    const target = holder(Object.fromEntries(zeros));

    await saveWeights(source, path);
    expect(await loadWeights(target, path)).toEqual({
      missing: [],
      unexpected: [],
      mismatched: [],
      metadata: { format: "pt" },
    });
    const expected = await stateOf(source);
    expect(Object.keys(expected)).toHaveLength(20);
    expect(await stateOf(target)).toEqual(expected);
    expect(await bitsOf(safetensors.load_file(path))).toEqual(expected);
    expect(await target.last.is_contiguous(kw({ memory_format: torch.channels_last }))).toBe(true);
  });

  test("resnet18, with the bits of safetensors' own library, both ways", async () => {
    const { resnet18 } = untyped(worker, "torchvision").models;
    const [source, target] = [resnet18(), resnet18()];
    const expected = await stateOf(source);
    expect(await stateOf(target)).not.toEqual(expected);
    const progress: [number, number][] = [];
    await saveWeights(source, path, { onProgress: (...now) => void progress.push(now) });
    expect(await bitsOf(safetensors.load_file(path))).toEqual(expected);
    const total = Object.values(expected).reduce((sum, bits) => sum + Number.parseInt(bits, 10), 0);
    expect(progress.at(-1)).toEqual([total, total]);
    expect(progress.map(([done]) => done)).toEqual(progress.map(([done]) => done).toSorted((a, b) => a - b));

    const theirs = join(folder, "theirs.safetensors");
    await py.settle(safetensors.save_file(source.state_dict(), theirs));
    progress.length = 0;
    await loadWeights(target, theirs, { onProgress: (...now) => void progress.push(now) });
    expect(await stateOf(target)).toEqual(expected);
    expect(progress.at(-1)).toEqual([total, total]);
  });

  test("tied weights are in the file twice and tied again afterwards; one of the names is enough", async () => {
    const tied = (): AnyRef => {
      const module = nn.ModuleDict({ embedding: nn.Embedding(5, 3), head: nn.Linear(3, 5, kw({ bias: false })) });
      py.at(module, "head").weight = py.at(module, "embedding").weight;
      return module;
    };
    const [source, target] = [tied(), tied()];
    const expected = await stateOf(source);
    await saveWeights(source, path);
    expect(Object.keys(await bitsOf(safetensors.load_file(path)))).toEqual(["embedding.weight", "head.weight"]);
    await loadWeights(target, path);
    expect(await stateOf(target)).toEqual(expected);

    // The file that safetensors.torch.save_model writes.
    const again = tied();
    const once = join(folder, "once.safetensors");
    await py.settle(safetensors.save_model(source, once));
    expect(Object.keys(await bitsOf(safetensors.load_file(once)))).toHaveLength(1);
    expect((await loadWeights(again, once)).missing).toEqual([]);
    expect(await stateOf(again)).toEqual(expected);
  });

  test("several modules in one file, and metadata", async () => {
    const make = (): { generator: AnyRef; critic: AnyRef } => ({
      generator: nn.Linear(2, 3),
      critic: nn.BatchNorm1d(2),
    });
    const [source, target] = [make(), make()];
    await saveWeights(source, path, { metadata: { epoch: "3" } });
    const { metadata } = await loadWeights(target, path);
    expect(metadata).toEqual({ format: "pt", epoch: "3" });
    expect(await stateOf(target.generator)).toEqual(await stateOf(source.generator));
    const generator = await loadWeights({ generator: target.generator }, path, { strict: false });
    expect(generator.unexpected).toContain("critic.weight");
    expect(generator.missing).toEqual([]);
  });

  test("values take the dtype of what they replace, as load_state_dict has it", async () => {
    const source = nn.Linear(3, 4);
    const target = nn.Linear(3, 4).to(torch.bfloat16);
    await saveWeights(source, path);
    await loadWeights(target, path);
    const expected = nn.Linear(3, 4).to(torch.bfloat16);
    expected.load_state_dict(source.state_dict());
    expect(await stateOf(target)).toEqual(await stateOf(expected));
  });
});

describe("what does not fit", () => {
  test("is said all at once, and the module is as it was", async () => {
    await saveWeights({ a: nn.Linear(2, 3), b: nn.Linear(2, 2) }, path);
    const module = { a: nn.Linear(4, 3), c: nn.Linear(2, 2) };
    const before = [await stateOf(module.a), await stateOf(module.c)];
    const error = await caught(() => loadWeights(module, path));
    expect(error.code).toBe("BAD_DATA");
    expect(error.message).toBe(
      `${path} does not fit the module, which stays as it was (strict: false loads what fits)\n` +
        "  2 in the module and missing in the file: c.weight, c.bias\n" +
        "  2 in the file and not in the module: b.weight, b.bias\n" +
        "  1 different in both: a.weight ([3, 2] in the file, [3, 4] in the module)",
    );
    expect([await stateOf(module.a), await stateOf(module.c)]).toEqual(before);

    expect(await loadWeights(module, path, { strict: false })).toMatchObject({
      missing: ["c.weight", "c.bias"],
      unexpected: ["b.weight", "b.bias"],
      mismatched: ["a.weight"],
    });
    const { bias, weight } = await stateOf(module.a);
    expect(weight).toEqual(before[0]!["weight"]);
    expect(bias).not.toEqual(before[0]!["bias"]);
    expect(await stateOf(module.c)).toEqual(before[1]);
  });

  test("at all is an error also where strict is false", async () => {
    await saveWeights({ a: nn.Linear(2, 3) }, path);
    const error = await caught(() => loadWeights(nn.Linear(2, 3), path, { strict: false }));
    expect([error.code, error.message]).toEqual(["BAD_DATA", expect.stringContaining("nothing in it fits")]);
  });

  test("but for a prefix is said, with the option that takes it off, in both kinds of file", async () => {
    const source = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3));
    const expected = await stateOf(source);
    const wrapped = nn.ModuleDict({ module: source });
    const file = `${path}.pt`;
    await saveWeights(wrapped, path);
    await py.settle(torch.save(wrapped.state_dict(), file));
    for (const each of [path, file]) {
      const target = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3));
      const before = await stateOf(target);
      for (const strict of [true, false]) {
        const error = await caught(() => loadWeights(target, each, { strict }));
        expect([error.code, error.message]).toEqual([
          "BAD_DATA",
          expect.stringContaining(
            'the names in the file begin with "module.", and are the same but for that: give loadWeights { prefix: "module." }',
          ),
        ]);
      }
      expect(await stateOf(target)).toEqual(before);
      await loadWeights(target, each, { prefix: "module." });
      expect(await stateOf(target)).toEqual(expected);

      const deeper = nn.ModuleDict({ backbone: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)) });
      const error = await caught(() => loadWeights(deeper, each));
      expect(error.message).toContain('give loadWeights { prefix: "module.", rename: (name) => "backbone." + name }');
      await loadWeights(deeper, each, { prefix: "module.", rename: (name) => `backbone.${name}` });
      expect(await stateOf(deeper.backbone)).toEqual(expected);
      const twice = await caught(() => loadWeights(target, each, { rename: () => "0.weight" }));
      expect([twice.code, twice.message]).toEqual([
        "MISUSE",
        expect.stringMatching(/"module\.0\.\w+" .*one name, "0\.weight"/),
      ]);
    }
  });

  test("in a file, a damaged one, is found before anything is sent", async () => {
    const module = nn.Linear(2, 3);
    await saveWeights(module, path);
    const whole = await readFile(path);
    await writeFile(path, whole.subarray(0, -1));
    const { operations } = await countsOf(worker);
    const error = await caught(() => loadWeights(module, path));
    expect([error.code, error.message]).toEqual(["BAD_DATA", expect.stringContaining("cut short")]);
    expect((await countsOf(worker)).operations).toBe(operations + 1);
  });

  test("in safetensors is not written, and what was there stays", async () => {
    await writeFile(path, "old");
    const error = await caught(() => saveWeights({ a: nn.LazyLinear(3), b: nn.Linear(2, 2) }, path));
    expect(error.code).toBe("NOT_SAVED");
    expect(error.message).toContain("a.weight (it has no shape before the module was run once), a.bias");
    expect(await readFile(path, "utf8")).toBe("old");
  });

  test("as an argument is refused at once", async () => {
    const layer = nn.Linear(2, 2);
    for (const wrong of [null, 3, {}, { "a.b": layer }, { "": layer }, { a: 1 }])
      expect((await caught(() => saveWeights(wrong as object, path))).code).toBe("MISUSE");
    expect((await caught(() => saveWeights(layer, "model.pt"))).message).toContain(".safetensors");
    const inDict = await caught(() => saveWeights(layer.state_dict(), path));
    expect(inDict.message).toContain("is not a module: it has no state_dict");
  });
});

/** Compared with load_state_dict on a module of its own. */
describe("what PyTorch translates is taken", () => {
  test("no num_batches_tracked, old weight_norm, a module's own hooks and versions, [] for [1], lazy: both kinds of file, strict and not", async () => {
    const made = names(`
import torch, warnings
from torch import nn
class Old(nn.Linear):
    _version = 2
    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        if prefix + "kernel" in state:
            state[prefix + "weight"] = state.pop(prefix + "kernel")
        if metadata.get("version", 1) < 2:
            state[prefix + "bias"] = state[prefix + "bias"] + 1
        super()._load_from_state_dict(state, prefix, metadata, *rest)
class Hooked(nn.Linear):
    def __init__(self):
        super().__init__(2, 3)
        self.register_load_state_dict_pre_hook(lambda module, state, prefix, *_: state.update({prefix + "weight": state.pop(prefix + "w")}) if prefix + "w" in state else None)
def holder(x):
    module = nn.Module()
    module.register_buffer("x", x)
    return module
warnings.simplefilter("ignore", FutureWarning)
ones, three = torch.ones(3, 2), torch.arange(3.0)
make = {
    "batch_norm": lambda: nn.Sequential(nn.BatchNorm1d(3)),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)),
    "old": lambda: Old(2, 3),
    "hooked": Hooked,
    "number": lambda: holder(torch.zeros(())),
    "lazy": lambda: nn.LazyLinear(3),
}
saved = {
    "batch_norm": {f"0.{name}": three.clone() for name in ("weight", "bias", "running_mean", "running_var")},
    "weight_norm": dict(nn.utils.weight_norm(nn.Linear(2, 3)).state_dict()),
    "old": {"kernel": ones, "bias": three},
    "hooked": {"w": ones, "bias": three},
    "number": {"x": torch.full((1,), 3.0)},
    "lazy": {"weight": ones, "bias": three},
}
def plain(name):
    module = make[name]()
    module.load_state_dict(saved[name])
    return module
`);
    const from = (name: string): AnyRef => py.at(made, name);
    for (const name of ["batch_norm", "weight_norm", "old", "hooked", "number", "lazy"]) {
      const content = py.at(from("saved"), name);
      const expected = await stateOf(from("plain")(name));
      await py.settle(safetensors.save_file(content, path));
      await py.settle(torch.save(content, `${path}.pt`));
      for (const file of [path, `${path}.pt`])
        for (const strict of [true, false]) {
          const target = py.at(from("make"), name)();
          const { missing, unexpected, mismatched } = await loadWeights(target, file, { strict });
          expect([name, missing, unexpected, mismatched]).toEqual([name, [], [], []]);
          expect(await stateOf(target)).toEqual(expected);
        }
    }
    // A file of ours says by what version it was written.
    const [source, target] = [py.at(from("make"), "old")(), py.at(from("make"), "old")()];
    await saveWeights({ a: source }, path);
    await loadWeights({ a: target }, path);
    expect(await stateOf(target)).toEqual(await stateOf(source));
  });

  test("and what fails half-way leaves the module as it was, and the lane goes on", async () => {
    const made = names(`
import torch
class Fails(torch.nn.BatchNorm1d):
    def _load_from_state_dict(self, *args):
        super()._load_from_state_dict(*args)
        raise ValueError("not \\x1b[31mthis one")
def module():
    return torch.nn.Sequential(torch.nn.Linear(2, 3), Fails(3))
`);
    const module = py.at(made, "module")();
    const before = await stateOf(module);
    await saveWeights(py.at(made, "module")(), path);
    await py.settle(torch.save(py.at(made, "module")().state_dict(), `${path}.pt`));
    for (const file of [path, `${path}.pt`])
      for (const strict of [true, false]) {
        const error = await caught(() => loadWeights(module, file, { strict }));
        expect([error.code, error.message]).toEqual([
          "BAD_DATA",
          expect.stringContaining("1 said by PyTorch or a hook of the module: ValueError: not \\x1b[31mthis one"),
        ]);
        expect(await stateOf(module)).toEqual(before);
      }
  });

  test("a compiled module, also within another, is saved and loaded by the names of one that is not", async () => {
    const options = kw({ backend: "eager" });
    const compiled = (): AnyRef => torch.compile(nn.Sequential(torch.compile(nn.Linear(2, 3), options)), options);
    const [source, target, plain] = [compiled(), compiled(), nn.Sequential(nn.Linear(2, 3))];
    await saveWeights(source, path);
    expect(Object.keys(await bitsOf(safetensors.load_file(path)))).toEqual(["0.weight", "0.bias"]);
    await loadWeights(plain, path);
    await loadWeights(target, path);
    expect(await stateOf(target)).toEqual(await stateOf(source));
    expect(Object.values(await stateOf(plain))).toEqual(Object.values(await stateOf(source)));
    // The file that plain Python saves.
    const error = await py
      .settle(torch.save(torch.compile(nn.Linear(2, 3), options).state_dict(), `${path}.pt`))
      .then(() => caught(() => loadWeights(nn.Linear(2, 3), `${path}.pt`)));
    expect(error.message).toContain('prefix: "_orig_mod."');
  });
});

describe(".pt files", () => {
  test("of torch.save are loaded, alone or in a checkpoint", async () => {
    const source = nn.Linear(3, 4);
    const expected = await stateOf(source);
    for (const content of [source.state_dict(), { epoch: 3, state_dict: source.state_dict() }]) {
      const file = join(folder, "weights.pt");
      await py.settle(torch.save(content, file));
      const target = nn.Linear(3, 4);
      expect((await loadWeights(target, file)).missing).toEqual([]);
      expect(await stateOf(target)).toEqual(expected);
      const other = nn.Linear(3, 5);
      const before = await stateOf(other);
      const error = await caught(() => loadWeights(other, file));
      expect([error.code, error.message]).toEqual(["BAD_DATA", expect.stringContaining("[4, 3] in the file, [5, 3]")]);
      expect(await stateOf(other)).toEqual(before);
    }
  });

  test("that hold more than tensors are refused, and the lane goes on", async () => {
    const file = join(folder, "model.pt");
    const layer = nn.Linear(3, 4);
    await py.settle(torch.save(layer, file));
    const error = await caught(() => loadWeights(layer, file));
    expect([error.code, error.message]).toEqual(["BAD_DATA", expect.stringContaining("weights_only=True")]);
  });

  test("are not read by a torch that has the hole", async () => {
    const file = join(folder, "old.pt");
    const layer = nn.Linear(3, 4);
    await py.settle(torch.save(layer.state_dict(), file));
    await firstSafe(99, 0);
    const error = await caught(() => loadWeights(layer, file));
    expect([error.code, error.message]).toEqual(["ENVIRONMENT", expect.stringContaining("CVE-2025-32434")]);
    await firstSafe(2, 6);
    expect((await loadWeights(layer, file)).missing).toEqual([]);
  });
});

describe("in the program", () => {
  test("what is saved is what was there where the call stands", async () => {
    const layer = nn.Linear(1500, 1500);
    const expected = await stateOf(layer);
    const saving = saveWeights(layer, path);
    worker.scope(() => nn.init.zeros_(layer.weight));
    await saving;
    expect(await bitsOf(safetensors.load_file(path))).toEqual(expected);
    expect(await layer.weight.abs().sum().item()).toBe(0);
  });

  test("what failed before fails the save; what is refused here stops nothing, also in a lane", async () => {
    const layer = nn.Linear(2, 2);
    const failed = torch.zeros(-1);
    const notRun = await caught(() => saveWeights(layer, path));
    expect([notRun.code, notRun.message]).toEqual([
      "NOT_RUN",
      expect.stringContaining("because torch.zeros(...) failed"),
    ]);
    await caught(() => failed);
    expect(await readdir(folder)).not.toContain(basename(path));
    await worker.lane(async () => {
      await caught(() => saveWeights(nn.LazyLinear(3), path));
      await caught(() => loadWeights(layer, join(folder, "nothing")));
      await saveWeights(layer, path);
      await caught(() => loadWeights(nn.Linear(3, 3), path));
      expect(await torch.ones(2).sum().item()).toBe(2);
    });
  });

  test("what fails elsewhere meanwhile does not stop a save", async () => {
    const layer = nn.Linear(1500, 1500);
    const expected = await stateOf(layer);
    const saving = saveWeights(layer, path);
    const failed = torch.zeros(-1);
    await saving;
    expect((await caught(() => failed)).code).toBe("PYTHON");
    expect(await bitsOf(safetensors.load_file(path))).toEqual(expected);
  });

  test("loading in an inference context leaves parameters that can be trained", async () => {
    const layer = nn.Linear(2, 2);
    await saveWeights(layer, path);
    await worker.context({ mode: "inference" }, () => loadWeights(layer, path));
    layer(torch.ones(1, 2)).sum().backward();
    expect(await layer.weight.grad.sum().item()).toBe(4);
  });
});

describe("a save that is interrupted leaves the old file", () => {
  const weights = { a: new Uint8Array([1, 2, 3]) };

  test("by the end of this process", async () => {
    await saveWeights(holder({ a: worker.tensor(weights.a) as unknown as AnyRef }), path);
    const old = await readFile(path);
    const script = built("test/fixtures/weights/killed.ts");
    const { signal } = await execa(process.execPath, [script, path], { reject: false });
    expect(signal).toBe("SIGKILL");
    expect(await readFile(path)).toEqual(old);
    const opened = await openSafetensors(path);
    await opened.close();
    expect(opened.tensors).toHaveLength(1);
  });

  test("by the end of the worker, and no other file behind", async () => {
    const own = await testWorker();
    await writeFile(path, "old");
    const layer = untyped(own, "torch").nn.Linear(2048, 4096);
    const error = await caught(() => saveWeights(layer, path, { onProgress: () => void own.kill() }));
    expect(error.code).toBe("CLOSED");
    expect(await readFile(path, "utf8")).toBe("old");
    expect((await readdir(folder)).filter((name) => path.endsWith(name) || name.includes("worker-and"))).toHaveLength(
      1,
    );
    await own.kill();
  });
});

test("freeze and unfreeze: parameters get gradients or not", async () => {
  const model = await nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1));
  const trainable = async (): Promise<unknown> => {
    const found: unknown[] = [];
    for await (const parameter of model.parameters()) found.push(await parameter.requires_grad);
    return found;
  };
  const first = model[0];
  expect(freeze(first)).toBe(first);
  expect(await trainable()).toEqual([false, false, true, true]);
  expect(unfreeze(freeze(model))).toBe(model);
  expect(await trainable()).toEqual([true, true, true, true]);
});
