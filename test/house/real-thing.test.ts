/**
 * That it is what it says: PyTorch in the worker and nowhere else, no pickles, imports that go one way, and tests that
 * test it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { testWorker } from "../worker.ts";
import { describeOnLinux } from "../only.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

interface Source {
  /** Paths start at the package's folder. */
  readonly path: string;
  readonly text: string;
}

function sources(folder: string, extension: string): Source[] {
  const found = readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(extension))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path: relative(root, path), text: readFileSync(path, "utf8") }));
  // An empty list would agree with everything.
  if (found.length < 3) throw new Error(`${folder} has ${found.length} files`);
  return found;
}

/** `path:line: text` of every line that matches. */
const grep = (files: readonly Source[], pattern: RegExp): string[] =>
  files.flatMap(({ path, text }) =>
    text.split("\n").flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : [])),
  );

/** Every import of a TypeScript file, those of types too; relative ones from the package's folder on. */
function imports({ path, text }: Source): string[] {
  // An example in a docstring imports what its reader has. And worker.import("torch") is Python's.
  const code = text.replaceAll(/^\s*\/\*\*[^]*?\*\//gm, "");
  return [...code.matchAll(/(?:\bfrom\s|^import\s|(?<!\.)\bimport\()\s*"([^"\n]+)"/gm)].map(([, specifier]) =>
    specifier!.startsWith(".") ? relative(root, resolve(root, dirname(path), specifier!)) : specifier!,
  );
}

const importers = (files: readonly Source[], of: (specifier: string) => boolean): string[] =>
  files.filter((file) => imports(file).some(of)).map(({ path }) => path);

describeOnLinux("PyTorch", () => {
  test("is mapped into the worker's memory, and not into Node's", async () => {
    await using worker = await testWorker();
    expect(await worker.tensor([1, 2]).sum().item()).toBe(3);
    const mapped = (pid: number): string => readFileSync(`/proc/${pid}/maps`, "utf8");
    expect(mapped(worker.pid)).toMatch(/libtorch(_cpu)?\.so/);
    expect(worker.pid).not.toBe(process.pid);
    expect(mapped(process.pid)).toContain("node");
    expect(mapped(process.pid)).not.toMatch(/torch[^\n]*\.so/);
  });
});

describe("the worker's source", () => {
  const worker = sources("python/torchwire_worker", ".py");

  test("knows nothing of training", () => {
    const files = worker.filter(({ path }) => !path.includes("/helpers/"));
    expect(files.length).toBeGreaterThan(10);
    expect(grep(files, /backward|optimizer|zero_grad|epoch/i)).toEqual([]);
  });

  test("unpickles nothing, in whatever guise; a .pt file is read with weights_only=True alone", () => {
    const found = grep(
      worker,
      /\b(?:import|from)\s+\w*(?:pickle|dill|marshal|shelve)\b|pickle\.|_pyobj|torch\.load\(|yaml\.load/,
    );
    expect(found).toEqual([
      expect.stringMatching(
        /helpers\/pickled\.py:\d+: content = torch\.load\(self\._file, map_location="cpu", weights_only=True\)$/,
      ),
      // That it is refused, said to people.
      expect.stringMatching(/helpers\/pickled\.py:\d+: return f"torch\.load\(weights_only=True\) refuses it/),
      // A line of a script that somebody else runs.
      expect.stringMatching(
        /helpers\/script\.py:\d+: .*'start = torch\.load\(HERE \/ "start\.pt", weights_only=True\)'/,
      ),
    ]);
  });

  test("runs no text as code, but for the program's own modules and what it has recorded as functions", () => {
    expect(grep(worker, /(?<!\bre\.)\b(?:eval|exec|compile|__import__)\(/)).toEqual([
      expect.stringMatching(
        /helpers\/functions\.py:\d+: self\.code = compile\(source, file, "exec", dont_inherit=True\)$/,
      ),
      expect.stringMatching(/helpers\/functions\.py:\d+: exec\(code\.code, namespace\)$/),
      // Methods of modules, in lines of a script.
      expect.stringMatching(/helpers\/script\.py:\d+: lines\.append\(f"model\.compile\(\{given\}\)"\)$/),
      expect.stringMatching(/helpers\/script_loop\.py:\d+: f"\{model\}\.eval\(\)",$/),
      expect.stringMatching(/helpers\/sources\.py:\d+: return __import__\(names\[0\]\)$/),
      expect.stringMatching(/helpers\/sources\.py:\d+: exec\(self\.get_code\(name\), module\.__dict__\)$/),
      expect.stringMatching(
        /helpers\/sources\.py:\d+: return compile\(text or b"", path, "exec", dont_inherit=True\)$/,
      ),
    ]);
  });

  test("listens nowhere but in a directory of its own, or on the loopback", () => {
    // (But where it is told an address, and test/machines/remote.test.ts sees what it refuses.)
    const others = worker.filter(({ path }) => !/\/(?:serve|cli)\.py$/.test(path));
    expect(grep(others, /(?:tcp(?!:\/\/(?:127\.0\.0\.1\b|\["))|udp|ws|pgm):\/\/|0\.0\.0\.0/)).toEqual([]);
  });

  test("stands on pyzmq, msgspec, safetensors, torch, torchvision (with its Pillow) and Python, and on nothing of TypeScript's", () => {
    const named = new Set(
      worker.flatMap(({ text }) =>
        [...text.matchAll(/^\s*(?:from|import)\s+(\w+)/gm)].map(([, name]) => name!).filter((name) => name !== ""),
      ),
    );
    const standard = new Set(
      (
        "__future__ _thread argparse ast atexit base64 builtins codecs collections concurrent contextlib copy ctypes dataclasses difflib enum errno faulthandler fcntl functools gc glob hashlib hmac importlib inspect io itertools json keyword linecache " +
        "logging math mmap multiprocessing operator os pathlib pkgutil platform queue random re resource secrets select selectors shutil signal socket stat struct subprocess sys tempfile termios textwrap threading time tokenize traceback typing " +
        "types unicodedata urllib uuid warnings weakref zipfile zlib"
      ).split(" "),
    );
    expect([...named].filter((name) => !standard.has(name)).toSorted()).toEqual(
      ["PIL", "msgspec", "numpy", "safetensors", "torch", "torchvision", "torchwire_worker", "zmq"].filter((name) =>
        named.has(name),
      ),
    );
  });
});

describe("imports", () => {
  const bridge = sources("bridge", ".ts");
  const client = sources("client", ".ts");

  test("go from client to bridge, never back", () => {
    expect(importers(client, (specifier) => specifier.startsWith("bridge/")).length).toBeGreaterThan(0);
    expect(importers(bridge, (specifier) => specifier.startsWith("client") || specifier === "torchwire")).toEqual([]);
  });

  test.for([
    // Keys are made by the library that they are for.
    ["zeromq", /^bridge\/(?:link|keys)\//],
    ["msgpackr", /^bridge\/wire\//],
  ] as const)("know %s in %s alone", ([name, folder]) => {
    const found = importers([...bridge, ...client], (specifier) => specifier === name);
    expect(found.length).toBeGreaterThan(0);
    // The doctor looks whether they load.
    expect(found.filter((path) => !folder.test(path) && !path.startsWith("bridge/doctor/"))).toEqual([]);
  });

  test("of the client know neither the wire nor a link", () => {
    // The public face names a type of an option.
    const users = client.filter(({ path }) => path !== "client/index.ts");
    expect(importers(users, (specifier) => /^bridge\/(?:wire|link)\//.test(specifier))).toEqual([]);
  });

  test("of the package are its dependencies, Node's own modules, or its own files", () => {
    const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      dependencies: Record<string, string>;
      peerDependencies: Record<string, string>;
    };
    const strange = [...bridge, ...client].flatMap((file) =>
      imports(file).filter(
        (specifier) =>
          !/^(?:node:|bridge\/|client\/|python\/)/.test(specifier) &&
          !(specifier in { ...dependencies, ...peerDependencies }),
      ),
    );
    expect(strange).toEqual([]);
  });
});

describe("the plain PyTorch that parity is measured against", () => {
  test("imports nothing of ours", () => {
    expect(
      grep(sources("test/native", ".py"), /^\s*(?:from|import)\s.*torchwire|import_module|__import__|sys\.path/),
    ).toEqual([]);
  });
});

describe("the tests", () => {
  const tests = sources("test", ".ts");

  /** Lines with something in the place of a worker, outside of the tests that are of logic alone. */
  const fakes = (files: readonly Source[]): string[] =>
    grep(
      files.filter(({ path }) => !path.startsWith(join("test", "pure"))),
      /\bvi\.(?:mock|doMock|spyOn(?!\(process, "emitWarning"\)|\(performance, "now"\))|hoisted|stub\w+)\(|\bas (?:unknown as )?(?:Worker|Session|Link|Learner|LogPort)\b|\bnew (?:Log|Session)\(|: (?:Worker|Session|Link|LogPort) = \{|from "[./]+\/pure\//,
    );
  /** Lines that skip a test and do not say why. A call's first argument may stand in the line below. */
  const skips = (files: readonly Source[]): string[] =>
    grep(
      files
        .filter(({ path }) => path !== join("test", "only.ts"))
        .map(({ path, text }) => ({ path, text: text.replaceAll(/\(\n\s+/g, "(") })),
      /\b(?:test|it|describe|suite|bench)\.(?:skip|skipIf|runIf|todo|only|fails)\b|\bskip\(\s*\)|\bmark\.skip(?!\w*\([^\n]*reason=")|\bmark\.xfail\b/,
    );

  test("use real workers: none outside of test/pure/ has a fake one", () => {
    expect(tests.length).toBeGreaterThan(60);
    expect(fakes(tests)).toEqual([]);
  });

  // In halves, so that this file has none itself.
  test.each([
    ["vi", '.mock("../bridge/start/spawn.ts");'],
    ["const worker = { device: 'cpu' } as unknown as Wor", "ker;"],
    ["const session = new", " Session(link, () => undefined);"],
    ["const log = new", " Log(port);"],
    ["const link: Link", " = { up: true };"],
    ["import { recorded } from ", '"./pure/recorded.ts";'],
  ])("and %s… would be seen", (...halves) => {
    const text = halves.join("");
    expect(fakes([{ path: "test/some.test.ts", text }])).toHaveLength(1);
    expect(fakes([{ path: "test/pure/some.test.ts", text }])).toEqual([]);
  });

  test("skip nothing without a reason", () => {
    expect(skips([...tests, ...sources("python/tests", ".py")])).toEqual([]);
  });

  test.each([
    ["test", '.skip("some day", () => undefined);'],
    ["describe", '.skipIf(isWindows)("files", () => undefined);'],
    ["test", '.todo("more of it");'],
    ["if (isWindows) context.skip", "();"],
    ["@pytest.mark", ".skip"],
    ["@pytest.mark", ".skipif(sys.version_info < (3, 11))"],
  ])("and %s… would be seen", (...halves) => {
    expect(skips([{ path: "test/some.test.ts", text: halves.join("") }])).toHaveLength(1);
  });
});
