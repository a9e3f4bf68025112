/** Python files of the program's own, sent to a worker in whose folder none of them lies. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { kw, py, type Worker } from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, nextLine, operationsOf } from "../../observed.ts";
import { testWorker } from "../../worker.ts";

let worker: Worker;
let empty: string;
let root: string;
let folders = 0;

beforeAll(async () => {
  empty = mkdtempSync(join(tmpdir(), "empty-"));
  root = mkdtempSync(join(tmpdir(), "program-"));
  // It has modules of its own in memory by the end.
  worker = await testWorker({ cwd: empty });
});
afterAll(async () => {
  await worker?.close();
  for (const folder of [empty, root]) rmSync(folder, { recursive: true });
});

/** Writes files into a new folder, or into `folder`, and gives the path of each. */
function write(
  files: Readonly<Record<string, string | Uint8Array>>,
  folder = join(root, `${folders++}`),
): (name: string) => string {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return (name) => join(folder, name);
}

/** The warnings of Python that come while `run` does. */
async function warningsOf(run: () => unknown): Promise<string[]> {
  const found: string[] = [];
  const note = (warning: Error): void => void found.push(`${warning.name}: ${warning.message}`);
  process.on("warning", note);
  await run();
  await new Promise((resolve) => setTimeout(resolve));
  process.off("warning", note);
  return found;
}

describe("a file", () => {
  test("is imported under its name, as if it lay there", async () => {
    const at = write({
      "my_net.py": "import torch\nclass Net(torch.nn.Linear): pass\nwhere = __file__, __name__, __package__\n",
    });
    const { Net, where } = worker.module(at("my_net.py"));
    expect(await py.js(where)).toEqual([at("my_net.py"), "my_net", ""]);
    expect(await Net.__module__).toBe("my_net");
    expect(await Net(2, 3).out_features).toBe(3);
    expect(await worker.import("my_net").Net.__name__).toBe("Net");
  });

  test("is read from the current folder, beside the program by a URL, and from anywhere by an absolute path", async () => {
    const at = write({ "placed.py": "answer = 42\n" });
    const url = pathToFileURL(at("placed.py"));
    for (const path of [relative(process.cwd(), at("placed.py")), at("placed.py"), url, url.href])
      expect(await worker.module(path as string)["answer"]).toBe(42);
  });

  test("brings the files and packages beside it that it imports, and those that these import", async () => {
    const at = write({
      "leader.py":
        "from follower import two\ndef three():\n    import late_follower.inner as inner\n    return two + inner.one\n",
      "follower.py":
        "import plain_folder.deep\nfrom other_folder import other\ntwo = plain_folder.deep.two + other.none\n",
      "late_follower/__init__.py": "",
      "late_follower/inner.py": "one = 1\n",
      "plain_folder/deep.py": "two = 2\n",
      "other_folder/other.py": "none = 0\n",
      "stranger.py": "raise RuntimeError\n",
    });
    expect(await worker.module(at("leader.py")).three()).toBe(3);
    const error = await caught(() => worker.import("stranger"));
    expect(error.pyType).toBe("ModuleNotFoundError");
  });

  test("that was sent can be imported by one that is sent later, by a name that is made when it runs", async () => {
    const at = write({
      "plugin_a.py": "name = 'a'\n",
      "plugins.py": "import importlib\nnames = [importlib.import_module(f'plugin_{x}').name for x in 'a']\n",
    });
    worker.module(at("plugin_a.py"));
    expect(await py.js(worker.module(at("plugins.py"))["names"])).toEqual(["a"]);
  });

  test("may be in another encoding than UTF-8 where it says so, and may have a byte order mark and any ends of lines", async () => {
    const at = write({
      "latin.py": Buffer.from("# -*- coding: latin-1 -*-\nword = 'größe'\n", "latin1"),
      "marked.py": "\ufeffword = 'größe'\r\n",
      "undeclared.py": Buffer.from("\nword = 'größe'\n", "latin1"),
    });
    expect(await worker.module(at("latin.py"))["word"]).toBe("größe");
    expect(await worker.import("inspect").getsource(worker.module(at("latin.py")))).toContain("größe");
    expect(await worker.module(at("marked.py"))["word"]).toBe("größe");
    const error = await caught(() => worker.module(at("undeclared.py")));
    expect(error.pyType).toBe("SyntaxError");
    expect(error.message).toMatch(/utf-8|encoding/);
  });

  test("leaves no file where the worker is", async () => {
    expect(await py.js(worker.import("os").listdir("."))).toEqual([]);
  });
});

describe("a package", () => {
  test("is imported with its relative imports, and its modules by their names", async () => {
    const at = write({
      "nets/__init__.py": "from .wide import Wide\nfrom . import layers\n",
      "nets/wide.py": "from .layers.dense import dense\nclass Wide:\n    def __init__(self): self.layer = dense()\n",
      "nets/layers/__init__.py": "",
      "nets/layers/dense.py": "from ..sizes import size\nimport torch\ndef dense(): return torch.nn.Linear(size, 1)\n",
      "nets/sizes.py": "size = 7\n",
      "nets/unused.py": "loaded = True\n",
      "nets/loose/part.py": "part = 1\n",
      "nets/images/1.png": "",
      "nets/.hidden/x.py": "",
      "nets/__pycache__/x.py": "",
      "nets/not-a-name/x.py": "",
    });
    symlinkSync(at("nets"), at("nets/circle"));
    const nets = worker.module(`${at("nets")}/`);
    expect(await nets.Wide().layer.in_features).toBe(7);
    expect(await worker.import("nets.unused").loaded).toBe(true);
    expect(await worker.import("nets.loose.part").part).toBe(1);
    const { list, map } = worker.import("builtins");
    const named = worker.import("operator").itemgetter(1, 2);
    const found = await py.js(list(map(named, worker.import("pkgutil").walk_packages(nets.__path__, "nets."))));
    const modules = found as [name: string, isPackage: boolean][];
    expect(modules.map(([name, isPackage]) => `${name}${isPackage ? "/" : ""}`)).toEqual([
      "nets.layers/",
      "nets.layers.dense",
      "nets.loose/",
      "nets.loose.part",
      "nets.sizes",
      "nets.unused",
      "nets.wide",
    ]);
  });

  test("says of what was not sent with it that it was not sent", async () => {
    const at = write({
      "files/__init__.py":
        "import os, pkgutil\ndef native():\n    from ._native import x\n" +
        "def opened(): return open(os.path.join(os.path.dirname(__file__), 'labels.json'))\n" +
        "def data(): return pkgutil.get_data(__name__, 'labels.json')\n",
      "files/_native.so": "",
    });
    const files = await worker.module(at("files"));
    // As on another machine.
    rmSync(at("files"), { recursive: true });
    for (const name of ["opened", "data"]) {
      const error = await caught(() => py.get(files, name)());
      expect(error.pyType).toBe("FileNotFoundError");
      expect(error.message).toContain("worker.module sends Python source and no other files");
    }
    const error = await caught(() => files["native"]());
    expect(error.isPython!("ImportError")).toBe(true);
    expect(error.message).toContain("worker.module sends Python source and no other files");
  });
});

describe("an error", () => {
  test("has the line of the file, as it was when it was run", async () => {
    const at = write({ "raising.py": "def fail(x):\n    return 1 / x\n" });
    const { fail } = worker.module(at("raising.py"));
    await fail(1);
    write({ "raising.py": "# another\n# file\n" }, dirname(at("raising.py")));
    const line = nextLine();
    const error = await caught(() => fail(0));
    expect(error.frames).toEqual([{ file: at("raising.py"), line: 2, name: "fail", source: "return 1 / x" }]);
    expect(error.site).toContain(line);
    expect(await worker.import("inspect").getsource(fail)).toBe("def fail(x):\n    return 1 / x\n");
  });

  test("of the import is that of the module, with the line that asked for it", async () => {
    const at = write({ "fails_late.py": "import torch\n\ntorch.no_such_thing\n" });
    const line = nextLine();
    const error = await caught(() => worker.module(at("fails_late.py")));
    expect(error).toMatchObject({ code: "PYTHON", pyType: "AttributeError", operation: "worker.module(...)" });
    expect(error.site).toContain(line);
    expect(error.frames).toContainEqual({
      file: at("fails_late.py"),
      line: 3,
      name: "<module>",
      source: "torch.no_such_thing",
    });
    expect(error.frames![0]!.file).toBe(at("fails_late.py"));
  });

  test("of the syntax has the file and the line, also in a file that another imports", async () => {
    const at = write({ "fine.py": "import broken\n", "broken.py": "x = 1\ndef f(:\n" });
    for (const name of ["fine.py", "broken.py"]) {
      const error = await caught(() => worker.module(at(name)));
      expect(error).toMatchObject({ code: "PYTHON", pyType: "SyntaxError" });
      expect(error.message).toContain("(broken.py, line 2)");
      expect(error.frames!.at(-1)).toEqual({ file: at("broken.py"), line: 2, name: "<module>", source: "def f(:" });
    }
  });

  test("of a relative import in a file of a package says to give the folder", async () => {
    const at = write({ "parts/__init__.py": "", "parts/one.py": "from . import two\n", "parts/two.py": "" });
    const error = await caught(() => worker.module(at("parts/one.py")));
    expect(error.message).toContain('worker.module("./folder")');
    expect(await worker.module(at("parts"))).toBeDefined();
    expect(await worker.import("parts.one").two.__name__).toBe("parts.two");
  });
});

describe("a name", () => {
  test("of the standard library is refused, and beside the program it is told and not used", async () => {
    const at = write({
      "random.py": "raise RuntimeError\n",
      "uses_random.py": "import random\nchosen = random.choice([5])\n",
    });
    const error = await caught(() => worker.module(at("random.py")));
    expect(error).toMatchObject({ code: "PYTHON", pyType: "ImportError", operation: "worker.module(...)" });
    expect(error.message).toContain(`${at("random.py")} has the name of a module of Python's standard library`);
    expect(error.message).toContain("Rename it, e.g. to my_random.py");
    const told = await warningsOf(async () => {
      expect(await worker.module(at("uses_random.py"))["chosen"]).toBe(5);
    });
    expect(told).toEqual([
      expect.stringMatching(/^PythonWarning: .*random\.py has the name of .*: it is not used\. Rename it/),
    ]);
    expect(told[0]).toContain("module.test.ts");
  });

  test.for(["torch", "safetensors", "torchwire_worker", "msgspec"])(
    "of a module that the worker's Python has is refused, also beside the program: %s",
    async (name) => {
      const at = write({ [`${name}.py`]: "", [`uses_${name}.py`]: `import ${name}\n` });
      for (const file of [`${name}.py`, `uses_${name}.py`]) {
        const error = await caught(() => worker.module(at(file)));
        expect(error).toMatchObject({ code: "PYTHON", pyType: "ImportError" });
        expect(error.message).toContain(`${at(`${name}.py`)} has the name of a module that the worker's Python has`);
        expect(error.message).toContain(`Rename yours, e.g. to my_${name}.py`);
      }
      expect(await worker.import("torch").__name__).toBe("torch");
    },
  );

  test("that a folder without __init__.py has too means the installed one", async () => {
    const at = write({
      "numpy/linalg.py": "raise RuntimeError\n",
      "uses_numpy.py": "import numpy.linalg\nversion = numpy.__version__\n",
    });
    expect(await worker.module(at("uses_numpy.py"))["version"]).toMatch(/^\d/);
  });

  test("that another file has been imported by is refused; the same content elsewhere is the same module", async () => {
    const at = write({ "a/taken.py": "x = 1\n", "b/taken.py": "x = 2\n", "c/taken.py": "x = 1\n" });
    await worker.module(at("a/taken.py"));
    const error = await caught(() => worker.module(at("b/taken.py")));
    expect(error.code).toBe("MISUSE");
    expect(error.message).toContain(`would be imported as taken, which is ${at("a/taken.py")} in this worker already`);
    expect(await worker.module(at("c/taken.py"))["x"]).toBe(1);
  });
});

describe("a file that has changed", () => {
  test("stays what it was, and a warning says so; with reload it is run anew", async () => {
    const at = write({ "changing.py": "version = 1\n" });
    const first = worker.module(at("changing.py"));
    expect(await first.version).toBe(1);
    write({ "changing.py": "version = 2\n" }, dirname(at("changing.py")));
    const told = await warningsOf(async () => {
      expect(await worker.module(at("changing.py"))["version"]).toBe(1);
    });
    expect(told).toEqual([expect.stringContaining(`${at("changing.py")} has changed since it was imported`)]);
    expect(told[0]).toContain("reload: true");
    expect(await worker.module(at("changing.py"), { reload: true })["version"]).toBe(2);
    expect(await worker.import("changing").version).toBe(2);
    expect(await first.version).toBe(1);
  });

  test("is not run again by reload where nothing has changed", async () => {
    const at = write({ "counting.py": "import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\n" });
    for (let i = 0; i < 3; i++) await worker.module(at("counting.py"), { reload: true });
    expect(await worker.import("builtins").runs).toBe(1);
  });

  test("takes those with it that import it: files beside the program, and modules of a package", async () => {
    const at = write({
      "user.py": "from used import x\nfrom bundle import y\n",
      "used.py": "x = 1\n",
      "bundle/__init__.py": "from .inner import y\n",
      "bundle/inner.py": "y = 1\n",
    });
    const sum = async (reload: boolean): Promise<unknown[]> => {
      const user = worker.module(at("user.py"), { reload });
      return Promise.all([user.x, user.y]);
    };
    expect(await sum(false)).toEqual([1, 1]);
    write({ "used.py": "x = 2\n" }, dirname(at("user.py")));
    expect(await sum(true)).toEqual([2, 1]);
    write({ "bundle/inner.py": "y = 2\n" }, dirname(at("user.py")));
    expect(await sum(true)).toEqual([2, 2]);
  });

  test("of a package that is loaded is not mixed into it", async () => {
    const at = write({
      "mixed/__init__.py": "def late():\n    from .part import version\n    return version\n",
      "mixed/part.py": "version = 1\n",
    });
    const mixed = await worker.module(at("mixed"));
    write({ "mixed/part.py": "version = 2\n" }, dirname(at("mixed")));
    await warningsOf(() => worker.module(at("mixed")));
    expect(await mixed["late"]()).toBe(1);
  });

  test("is read again where it could not be imported before", async () => {
    const at = write({
      "mended/__init__.py": "from . import one\nfrom . import two\n",
      "mended/one.py": "x = 1\n",
      "mended/two.py": "1 / 0\n",
    });
    expect((await caught(() => worker.module(at("mended")))).pyType).toBe("ZeroDivisionError");
    expect((await caught(() => worker.module(at("mended")))).pyType).toBe("ZeroDivisionError");
    write({ "mended/one.py": "x = 2\n", "mended/two.py": "" }, dirname(at("mended")));
    expect(
      await warningsOf(async () => {
        expect(await worker.module(at("mended"))["one"].x).toBe(2);
      }),
    ).toEqual([]);
  });
});

describe("what is sent", () => {
  test("is sent once: then an import is one operation, and none waits", async () => {
    const at = write({
      "once.py": "import once_helper\nx = 1\n",
      "once_helper.py": `text = """${"x".repeat(100_000)}"""\n`,
    });
    // The source goes in two operations: the helper, and the call that takes it.
    expect(await operationsOf(worker, () => void worker.module(at("once.py")))).toBe(3);
    expect(await operationsOf(worker, () => void worker.module(at("once.py")))).toBe(1);
    expect(await operationsOf(worker, () => void worker.module(at("once.py"), { reload: true }))).toBe(1);
    write({ "once.py": "import once_helper\nx = 2\n" }, dirname(at("once.py")));
    expect(await operationsOf(worker, () => void worker.module(at("once.py"), { reload: true }))).toBe(3);
    const { roundTrips } = await worker.stats();
    worker.module(at("once.py"));
    await new Promise((resolve) => setImmediate(resolve));
    expect((await worker.stats()).roundTrips).toBe(roundTrips);
    expect(await worker.import("once").x).toBe(2);
  });

  test("arrives even where the program's own operations fail before it", async () => {
    const at = write({ "after_failure.py": "x = 1\n" });
    const failing = worker.import("no_such_module");
    const unrun = worker.module(at("after_failure.py"));
    expect((await caught(() => failing)).pyType).toBe("ModuleNotFoundError");
    expect((await caught(() => unrun)).code).toBe("NOT_RUN");
    expect(await worker.module(at("after_failure.py"))["x"]).toBe(1);
  });

  test("outlives the scope in which it was sent; the reference does not", async () => {
    const at = write({ "scoped.py": "x = 1\n" });
    await using other = await testWorker({ cwd: empty });
    let held: AnyRef | undefined;
    other.scope(() => {
      held = other.module(at("scoped.py"));
    });
    expect((await caught(() => held!["x"])).code).toBe("NO_VALUE");
    expect(await other.module(at("scoped.py"))["x"]).toBe(1);
  });
});

describe("what it defines", () => {
  let tools: AnyRef;
  beforeAll(() => {
    const at = write({
      "tools.py":
        "import torch\nclass Squares(torch.utils.data.Dataset):\n    def __len__(self): return 6\n" +
        "    def __getitem__(self, i): return torch.tensor(i * i)\ndef collate(items): return torch.stack(items) + 1\n" +
        "class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc = torch.nn.Linear(2, 1)\n" +
        "    def forward(self, x): return self.fc(x).relu()\n",
    });
    tools = worker.module(at("tools.py"));
  });

  test("can be pickled, and saved by torch.save", async () => {
    const pickle = worker.import("pickle");
    expect(await py.len(pickle.loads(pickle.dumps(tools.Squares())))).toBe(6);
    const file = worker.import("io").BytesIO();
    const torch = worker.import("torch") as unknown as AnyRef;
    const net = tools.Net();
    torch.save(net, file);
    file.seek(0);
    const back = torch.load(file, kw({ weights_only: false }));
    expect(await py.isInstance(back, tools.Net)).toBe(true);
    expect(await torch.equal(back.fc.weight, net.fc.weight)).toBe(true);
  });

  test.for(["fork", "spawn"])("serves the processes of a DataLoader: %s", async (context) => {
    const { DataLoader } = worker.import("torch.utils.data");
    const options = { batch_size: 3, num_workers: 2, collate_fn: tools.collate, multiprocessing_context: context };
    const batches: unknown[] = [];
    for await (const batch of DataLoader(tools.Squares(), kw(options)))
      batches.push([...(await py.ndarray(batch)).data]);
    expect(batches).toEqual([
      [1n, 2n, 5n],
      [10n, 17n, 26n],
    ]);
  });

  test("can be compiled to TorchScript, which reads its source", async () => {
    const net = tools.Net();
    const torch = worker.import("torch") as unknown as AnyRef;
    const x = torch.ones(1, 2);
    expect(await torch.equal(torch.jit.script(net)(x), net(x))).toBe(true);
  });
});

describe("what cannot be sent is refused at once", () => {
  test.for<[string, () => unknown, RegExp]>([
    [
      "nothing there",
      () => "./no_such_file.py",
      /there is no .*no_such_file\.py: a path begins at the current folder, /,
    ],
    ["without its ending", () => write({ "ending.py": "" })("ending"), /there is no .*ending; there is ending\.py/],
    [
      "another kind",
      () => write({ "x.txt": "" })("x.txt"),
      /x\.txt is no Python source: it takes a \.py file, or a folder/,
    ],
    ["a notebook", () => write({ "x.ipynb": "" })("x.ipynb"), /jupyter nbconvert --to script x\.ipynb/],
    [
      "no package",
      () => dirname(write({ "plain/x.py": "" })("plain/x.py")),
      /plain has no __init__\.py, so it is no package\. Put an empty one there, or give one of its files: x\.py/,
    ],
    ["__init__.py", () => write({ "p/__init__.py": "" })("p/__init__.py"), /is a part of a package: give its folder, /],
    [
      "a name that is none",
      () => write({ "my-unet.v2.py": "" })("my-unet.v2.py"),
      /cannot import "my-unet\.v2".*Rename it, e\.g\. to my_unet_v2\.py/,
    ],
    ["a digit first", () => write({ "2d.py": "" })("2d.py"), /Rename it, e\.g\. to _2d\.py/],
    [
      "a web address",
      () => "https://example.org/x.py",
      /is not the path of a Python file or package; it takes "\.\/my_unet\.py"/,
    ],
    ["another URL", () => new URL("https://example.org/x.py"), /is not the path of a Python file/],
    ["a number", () => 3, /3 is not the path/],
    ["nothing", () => "", /'' is not the path/],
    [
      "too much",
      () => write({ "large/__init__.py": "x".repeat(5e6), "large/more.py": "x".repeat(5e6) })("large"),
      /large has more than 8 MiB of Python/,
    ],
    [
      "a large file",
      () => write({ "huge.py": "x".repeat(9e6) })("huge.py"),
      /huge\.py: it has 9000000 bytes; 8388608 are possible/,
    ],
  ])("%s", async ([, make, message]) => {
    const given = make() as string;
    const error = await caught(() => worker.module(given));
    expect(error.code).toBe("MISUSE");
    expect(error.message).toMatch(/^worker\.module: /);
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/\(at module\.test\.ts:\d+\)$/);
  });

  test("a path from beside the program's file names the URL to write", async () => {
    const error = await caught(() => worker.module("./module.test.ts"));
    expect(error.message).toContain('There is one beside module.test.ts: new URL("./module.test.ts", import.meta.url)');
  });

  test("an option that is none", async () => {
    const at = write({ "optional.py": "" });
    const error = await caught(() => worker.module(at("optional.py"), { reload: "yes" } as never));
    expect(error).toMatchObject({ code: "MISUSE", message: expect.stringContaining("reload is true or false") });
  });
});
