/** Errors say what was wrong, where in the program, and what to do. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EnvironmentError, kw, py, PythonError, spawnWorker, type SpawnOptions, type Worker } from "torchwire";
import { findPython } from "../../../bridge/environment/find.ts";
import { buildProgram } from "../../fixtures/errors/built.ts";
import { mistakes } from "../../fixtures/errors/mistakes.ts";
import { privateRuntime, type Runtime } from "../../fixtures/life/world.ts";
import { testWorker } from "../../worker.ts";

interface Told {
  readonly code?: string;
  readonly message: string;
  readonly stack: string;
  readonly site?: string;
}

const run = promisify(execFile);
const fixture = (name: string): string => fileURLToPath(new URL(`../../fixtures/errors/${name}`, import.meta.url));

/** The lines that the fixture's comments mark. */
const marked = new Map<string, number>();
for (const [i, line] of readFileSync(fixture("mistakes.ts"), "utf8").split("\n").entries()) {
  const name = /\/\/ <- (.*)$/.exec(line)?.[1];
  if (name !== undefined) marked.set(name, i + 1);
}

const says: Readonly<Record<keyof typeof mistakes, RegExp>> = {
  "wrong shape": /torch\.matmul\(\.\.\.\).*mat1 and mat2 shapes cannot be multiplied \(1x2 and 1x2\)/,
  "unknown attribute": /Linear\.weight\.grad_fnn failed .*'Parameter' object has no attribute 'grad_fnn'/,
  "unknown attribute in a call": /Linear\.weight\.daata failed .*'Parameter' object has no attribute 'daata'/,
  "wrong keyword": /torch\.nn\.Linear\(\.\.\.\).*unexpected keyword argument 'biass'/,
  "a set that fails": /Linear\.weight = \.\.\. failed .*cannot assign 'str' as parameter 'weight'/,
  "an item that is not there": /^KeyError: key \(in dict\[\.\.\.\] at/,
  "an item that cannot be set": /Tensor\[\.\.\.\] = \.\.\. failed .*index 5 is out of bounds/,
  "a module that does not exist": /import no_such_module failed .*No module named 'no_such_module'/,
  "an argument that cannot be sent": /^kw\.device\.a\[1\]: a Date has no counterpart in Python/,
  "a value that has no counterpart": /value\[0\] is a builtins\.module, which has no JavaScript counterpart/,
  "after something was awaited": /torch\.onees failed .*module 'torch' has no attribute 'onees'/,
  "in a loop that went well before": /torch\.matmul\(\.\.\.\) failed .*\(1x2 and 3x1\)/,
  "in a lane, in a scope, in a context": /torch\.zeroes failed .*module 'torch' has no attribute 'zeroes'/,
  "an interpreter that is not there":
    /^the option python names no-such-python, which is not there.*\nRun: npx torchwire setup/,
  "a device that is not there": /^the device "cuda:77" is not there: .* device: "auto" falls back to the CPU/,
};

function thrower(): never {
  throw new RangeError("not for you");
}

/** A class in place of Error that cannot be changed, with a way of its own to prepare stacks. */
function frozen(prepareStackTrace: PropertyDescriptor): typeof Error {
  class Other extends Error {}
  Object.defineProperty(Other, "prepareStackTrace", prepareStackTrace);
  return Object.freeze(Other) as typeof Error;
}

/** Every mistake is told of with what was wrong and with the line, however the program is run. */
function tellsOf(errors: () => Readonly<Record<string, Told>>): void {
  test.for(Object.keys(mistakes))("%s", (name) => {
    const told = errors()[name];
    const line = marked.get(name);
    expect(told?.message).toMatch(says[name]!);
    expect(told?.message).toMatch(new RegExp(`at mistakes\\.ts:${line}\\b`));
    // The output of an uncaught error.
    expect(told?.stack).toContain(told!.message);
    const raised = told?.code === "PYTHON" || told?.code === "NOT_RUN";
    expect(told?.site ?? "nowhere").toMatch(raised ? new RegExp(`/mistakes\\.ts:${line}:\\d+$`) : "nowhere");
    expect(told?.stack).toContain(raised ? `(${told.site})` : "mistakes.ts");
  });
}

describe("a mistake is told of with its line in TypeScript, under vitest:", () => {
  const errors: Record<string, Told> = {};

  beforeAll(async () => {
    const worker = await testWorker();
    for (const [name, make] of Object.entries(mistakes)) {
      await make(worker).catch((error: unknown) => {
        const { code, message, stack, site } = error as Told;
        errors[name] = { message, stack, ...(code && { code }), ...(site && { site }) };
      });
    }
    await worker.close();
  });

  tellsOf(() => errors);

  test("and has its code", () => {
    expect(errors["an argument that cannot be sent"]?.code).toBe("NOT_SENDABLE");
    expect(errors["an interpreter that is not there"]?.code).toBe("ENVIRONMENT");
    expect(errors["a device that is not there"]?.code).toBe("NO_DEVICE");
    expect(errors["a value that has no counterpart"]?.code).toBe("PYTHON");
    expect(errors["a module that does not exist"]?.code).toBe("NOT_RUN");
  });
});

describe("a mistake is told of with its line in TypeScript, under tsx:", () => {
  let errors: Record<string, Told> = {};

  beforeAll(async () => {
    const { stdout } = await run(process.execPath, [
      "--import",
      "tsx",
      "--conditions=torchwire-source",
      fixture("program.ts"),
    ]);
    errors = JSON.parse(stdout) as typeof errors;
  });

  tellsOf(() => errors);
});

describe("a mistake is told of with its line in TypeScript, from built output under plain node:", () => {
  let errors: Record<string, Told> = {};
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "tw-built-"));
    const program = await buildProgram(folder, [fixture("mistakes.ts"), fixture("program.ts")]);
    const { stdout } = await run(process.execPath, [program], { cwd: folder });
    errors = JSON.parse(stdout) as typeof errors;
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  tellsOf(() => errors);

  test("and no stack names built code of the program's alone", () => {
    expect(errors["an argument that cannot be sent"]?.stack).toMatch(/mistakes\.ts:\d+/);
    expect(errors["wrong shape"]?.stack).not.toContain("mistakes.js");
  });
});

describe("what Python raises", () => {
  let worker: Worker;
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "tw-errors-"));
    writeFileSync(
      join(folder, "raising.py"),
      `class Custom(OSError):
    """Something of the user's own."""

def noted():
    error = Custom("bad input")
    if hasattr(error, "add_note"):
        error.add_note("while reading cat.jpg")
        error.add_note("in worker 3")
    raise error

def grouped():
    errors = []
    for run in (caused, noted):
        try:
            run()
        except Custom as error:
            errors.append(error)
    raise ExceptionGroup("two of two", [*errors, ExceptionGroup("one", [ValueError("a\\nb")])])

def caused():
    try:
        inner({})
    except KeyError as error:
        raise Custom("no such layer") from error

def inner(layers):
    return layers["fc"]
`,
    );
    worker = await testWorker({ cwd: folder });
  });

  afterAll(async () => {
    await worker?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const failure = async (ask: () => PromiseLike<unknown>): Promise<PythonError> => {
    const error = await Promise.resolve(ask()).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(PythonError);
    return error as PythonError;
  };

  test("has its class and all base classes, as isinstance would know them", async () => {
    const error = await failure(() => worker.import("raising").noted());
    expect(error.code).toBe("PYTHON");
    expect(error.pyType).toBe("raising.Custom");
    expect(error.mro).toEqual(["raising.Custom", "OSError", "Exception", "BaseException", "object"]);
    expect(error.isPython("OSError")).toBe(true);
    expect(error.isPython("ValueError")).toBe(false);
    expect(error.pyMessage).toBe("bad input");
    expect(error.operation).toBe("raising.noted(...)");
  });

  test("has Python's frames, none of them the worker's own, in its stack too", async () => {
    const error = await failure(() => worker.import("raising").caused());
    const file = join(folder, "raising.py");
    expect(error.frames).toEqual([
      { file, line: 24, name: "caused", source: 'raise Custom("no such layer") from error' },
    ]);
    expect(error.stack).toContain(`File "${file}", line 24, in caused`);
    expect(error.stack).toMatch(/at raising\.caused\(\.\.\.\) \(.*errors\.test\.ts:\d+:\d+\)/);
  });

  test("has its causes, each with its own fields", async () => {
    const error = await failure(() => worker.import("raising").caused());
    const cause = error.cause as PythonError;
    expect(cause).toBeInstanceOf(PythonError);
    expect(cause.pyType).toBe("KeyError");
    expect(cause.pyMessage).toBe("fc");
    expect(cause.frames.map(({ name, line }) => [name, line])).toEqual([
      ["caused", 22],
      ["inner", 27],
    ]);
    expect(cause.cause).toBeUndefined();
  });

  test("has its notes, in its message too", async () => {
    const version = worker.import("sys").version_info;
    const noted = Number(await version.minor) >= 11 ? ["while reading cat.jpg", "in worker 3"] : [];
    const error = await failure(() => worker.import("raising").noted());
    expect(error.notes).toEqual(noted);
    expect(error.message.split("\n").slice(1)).toEqual(noted);
  });

  test("has the members of a group, each with its own fields, and in its message", async (context) => {
    context.skip(!(await py.has(worker.import("builtins"), "ExceptionGroup")), "groups came with Python 3.11");
    const error = await failure(() => worker.import("raising").grouped());
    expect(error.pyType).toBe("ExceptionGroup");
    expect(error.isPython("BaseExceptionGroup")).toBe(true);
    const [caused, noted, one] = error.errors!;
    expect(caused).toMatchObject({ pyType: "raising.Custom", cause: { pyType: "KeyError" }, errors: undefined });
    expect(noted).toMatchObject({ pyMessage: "bad input", notes: ["while reading cat.jpg", "in worker 3"] });
    expect(noted!.frames.at(-1)).toMatchObject({ name: "noted", source: "raise error" });
    expect(one!.errors!.map((each) => each.pyMessage)).toEqual(["a\nb"]);
    expect(error.message.split("\n").slice(1)).toEqual([
      "  1. raising.Custom: no such layer",
      "  2. raising.Custom: bad input",
      "     while reading cat.jpg",
      "     in worker 3",
      "  3. ExceptionGroup: one (1 sub-exception)",
      "     1. ValueError: a",
      "        b",
    ]);
    const seen = worker.import("builtins").list();
    await seen;
    const failed = worker.import("raising").grouped();
    const later = await failure(() => seen.append(1));
    expect(later.errors).toBe((await failure(() => failed)).errors);
    expect(error.errors).toHaveLength(3);
  });

  test("keeps later operations of its lane from running, and their error leads to its own", async () => {
    const seen = worker.import("builtins").list();
    await seen;
    const failed = worker.import("raising").noted();
    const later = seen.append(1);
    const error = await failure(() => later);
    expect(error.code).toBe("NOT_RUN");
    expect(error.message).toMatch(
      /^not run, because raising\.noted\(\.\.\.\) failed at errors\.test\.ts:\d+: raising\.Custom: bad/,
    );
    expect(error.pyType).toBe("raising.Custom");
    expect(error.cause).toBe(await failure(() => failed));
    expect(await py.len(seen)).toBe(0);
  });

  describe("and where the program has its own mind about stacks, is told all the same:", () => {
    const set = (name: "prepareStackTrace" | "stackTraceLimit", descriptor: PropertyDescriptor) => () =>
      void Object.defineProperty(Error, name, { configurable: true, ...descriptor });
    const inPlaceOfError = (other: typeof Error): void => void (globalThis.Error = other);
    const itsOwn = (value: unknown) => set("prepareStackTrace", { value, writable: true });

    test.for<[what: string, disturb: () => void]>([
      ["a limit of 0", set("stackTraceLimit", { value: 0, writable: true })],
      ["a limit that cannot be written", set("stackTraceLimit", { value: 10, writable: false })],
      ["a limit that is computed", set("stackTraceLimit", { get: () => 1 })],
      ["no limit", () => Reflect.deleteProperty(Error, "stackTraceLimit")],
      ["frames for a stack", itsOwn((_: unknown, frames: unknown) => frames)],
      ["nothing for a stack", itsOwn(() => undefined)],
      ["a text without lines", itsOwn(() => "a stack")],
      ["a stack that throws", itsOwn(thrower)],
      ["a way that cannot be looked at", set("prepareStackTrace", { get: thrower })],
      ["another captureStackTrace", () => void (Error.captureStackTrace = thrower)],
      ["no captureStackTrace", () => Reflect.deleteProperty(Error, "captureStackTrace")],
      ["an Error that is frozen", () => inPlaceOfError(Object.freeze(class extends Error {} as typeof Error))],
      ["a frozen one that throws", () => inPlaceOfError(frozen({ get: thrower }))],
    ])("%s", async ([, disturb]) => {
      const original = Error;
      const before = Object.getOwnPropertyDescriptors(original);
      let refused: unknown, raised: unknown, disturbed: unknown, left: unknown;
      disturb();
      try {
        disturbed = Object.getOwnPropertyDescriptors(Error);
        refused = await spawnWorker({ threads: 0 }).catch((error: unknown) => error);
        raised = await Promise.resolve(worker.import("raising").noted()).catch((error: unknown) => error);
        left = Object.getOwnPropertyDescriptors(Error);
      } finally {
        globalThis.Error = original;
        for (const name of Reflect.ownKeys(original))
          if (!Object.hasOwn(before, name)) Reflect.deleteProperty(original, name);
        Object.defineProperties(original, before);
      }
      expect(refused).toMatchObject({ code: "MISUSE" });
      expect(raised).toBeInstanceOf(PythonError);
      expect(raised).toMatchObject({ pyMessage: "bad input", operation: "raising.noted(...)" });
      expect((raised as PythonError).site).toMatch(/errors\.test\.ts:\d+:\d+$/);
      expect(left).toEqual(disturbed);
    });
  });
});

describe("an environment that does not serve is told of with the command that mends it:", () => {
  let folder: string;
  let runtime: Runtime;
  let python: string;
  let site: string;

  beforeAll(async () => {
    runtime = privateRuntime();
    folder = mkdtempSync(join(tmpdir(), "tw-env-"));
    python = (await findPython()).executable;
    const { stdout } = await run(python, ["-c", "import torchvision; print(torchvision.__path__[0])"]);
    site = dirname(stdout.trim());
  });

  afterAll(() => {
    runtime?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  /** The error of spawnWorker. It names its line and leaves nothing behind. */
  async function refusal(options: SpawnOptions): Promise<EnvironmentError> {
    const error = await spawnWorker(options).then(
      async (worker) => {
        await worker.kill();
        return undefined;
      },
      (reason: unknown) => reason as EnvironmentError,
    );
    expect(error?.message).toMatch(/\(spawnWorker at errors\.test\.ts:\d+\)$/);
    expect(runtime.entries()).toEqual([]);
    return error!;
  }

  /** A folder for PYTHONPATH: some packages of the real environment and nothing else of it. */
  function packages(name: string, names: readonly string[]): string {
    const path = join(folder, name);
    mkdirSync(path);
    for (const entry of readdirSync(site))
      if (names.some((name) => entry === name || entry.startsWith(`${name}.`)))
        symlinkSync(join(site, entry), join(path, entry));
    return path;
  }

  /** A folder for PYTHONPATH with one file in it. */
  function startup(name: string, file: string, text: string): Readonly<Record<string, string>> {
    const path = join(folder, name);
    mkdirSync(dirname(join(path, file)), { recursive: true });
    writeFileSync(join(path, file), text);
    return { PYTHONPATH: path };
  }

  test("a Python without torch, and one without anything", async () => {
    const bare = join(folder, "bare");
    await run(python, ["-m", "venv", "--without-pip", bare]);
    const PYTHONPATH = packages("without-torch", ["zmq", "pyzmq", "msgspec"]);
    const error = await refusal({ python: bare, env: { PYTHONPATH } });
    expect(error).toBeInstanceOf(EnvironmentError);
    expect(error).toMatchObject({ code: "ENVIRONMENT", command: "npx torchwire setup" });
    expect(error.message).toMatch(/bare\/bin\/python\S* has no torch\nRun: npx torchwire setup\n/);
    expect((await refusal({ python: bare, env: { PYTHONPATH: "" } })).message).toContain(
      "has no zmq and no msgspec and no torch\n",
    );
  });

  test("a Python too old", async () => {
    const env = startup("old", "sitecustomize.py", 'import sys\nsys.version_info = (3, 8, 20, "final", 0)\n');
    const error = await refusal({ env });
    expect(error).toMatchObject({ code: "ENVIRONMENT", command: "npx torchwire setup" });
    expect(error.message).toMatch(/is Python 3\.8\.20; torchwire needs 3\.10 or newer\nRun: npx torchwire setup\n/);
  });

  test("a program that ends before it has said anything, with what it wrote", async () => {
    const env = startup("dies", "sitecustomize.py", 'import os\nprint("no licence", flush=True)\nos._exit(7)\n');
    const error = await refusal({ env });
    expect(error).toMatchObject({ code: "WORKER_GONE", exitCode: 7, lastLines: ["no licence"] });
    expect(error.message).toMatch(/ended with code 7\. It last wrote:\n {4}no licence\n/);
  });

  test("a torch that cannot be loaded, with what it says of itself", async () => {
    const text = 'raise ImportError("libcudart.so.99: cannot open shared object file")\n';
    const error = await refusal({ env: startup("broken", "torch/__init__.py", text) });
    expect(error).toMatchObject({ code: "ENVIRONMENT", command: "npx torchwire setup" });
    expect(error.message).toContain("has a torch that cannot be loaded: libcudart.so.99: cannot open shared object");
  });

  test("a device that is not there", async () => {
    expect(await refusal({ device: "cuda:99" })).toMatchObject({ code: "NO_DEVICE" });
  });

  test("options that make no sense, before anything is started", async () => {
    for (const options of [{ device: "tpu" }, { seed: 0.5 }, { threads: 0 }] as SpawnOptions[])
      expect(await refusal(options)).toMatchObject({ code: "MISUSE" });
  });

  test("a torchvision that does not fit its torch, when it is imported", async () => {
    const path = join(folder, "unfit");
    mkdirSync(join(path, "torchvision"), { recursive: true });
    // As where its compiled half was made for another torch, and so cannot be loaded.
    for (const entry of readdirSync(join(site, "torchvision")))
      if (!/\.(so|pyd|dylib)$/.test(entry) && entry !== "__pycache__")
        symlinkSync(join(site, "torchvision", entry), join(path, "torchvision", entry));
    const worker = await testWorker({ env: { PYTHONPATH: path } });
    try {
      const models = worker.import("torchvision").models;
      const model = models.resnet18(kw({ weights: null }));
      const error = await Promise.resolve(model).catch((reason: unknown) => reason as PythonError);
      expect(error).toBeInstanceOf(PythonError);
      const { message } = error as PythonError;
      expect(message).toMatch(
        /import torchvision failed at errors\.test\.ts:\d+: RuntimeError: operator torchvision::nms/,
      );
      expect(message).toMatch(
        /torchvision does not fit this torch .*install both together, e\.g\. npx torchwire setup/,
      );
    } finally {
      await worker.kill();
    }
  });
});
