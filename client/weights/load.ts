import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { oneLine, quoted } from "../../bridge/errors/shown.ts";
import { described } from "../options/keywords.ts";
import { byteLengthOf } from "./header.ts";
import { workerOfModules, make, type Modules, nameList, onTheWay, pieceBytes } from "./modules.ts";
import { openSafetensors, openToRead, readRanges } from "./safetensors.ts";
import { traced } from "../../bridge/errors/site.ts";

export interface LoadWeightsOptions {
  /** True (default): the file must have exactly the module's tensors. False: the tensors that fit are loaded. */
  readonly strict?: boolean;
  /**
   * Removed from the beginning of names in the file: `"module."` for a file that DataParallel made, `"_orig_mod."` for
   * a compiled model's, `"backbone."`.
   */
  readonly prefix?: string;
  /** Maps a name in the file, without `prefix`, to the module's name: `(name) => "module." + name`. */
  readonly rename?: (name: string) => string;
  /** Called, with bytes, after each piece that the worker has taken. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** The names of tensors that did not fit. With `strict` all lists are empty. */
export interface LoadedWeights {
  /** Tensors of the module that the file lacks. They stay as they were. */
  readonly missing: readonly string[];
  /** Tensors of the file that the module lacks. */
  readonly unexpected: readonly string[];
  /** Tensors with different shapes in file and module. They stay as they were. */
  readonly mismatched: readonly string[];
  /** The strings in the header of a safetensors file. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** The result of load_into in the worker. */
interface Found {
  readonly is_loaded: boolean;
  readonly fitting: number;
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly mismatched: readonly [name: string, why: string][];
  readonly problems: readonly string[];
  readonly prefix: readonly [file: string, module: string] | null;
}

/**
 * Loads a module's state from a file on this machine: safetensors, or a state dict that `torch.save` wrote. The first
 * bytes tell which of the two it is. The state dict may lie under "state_dict", "model_state_dict" or "model" in a
 * larger one. `{ generator, critic }` loads several modules from one file.
 *
 * PyTorch's `load_state_dict`, with the modules' own hooks, decides what fits. It fills in what an older file lacks,
 * translates old names, and converts values to the dtypes and devices of the values that they replace. Tied tensors are
 * found under any of their names. Names are those of a model that was not compiled.
 *
 * A load that fails leaves the module as it was, to the bit. For that the worker's main memory holds the new values and
 * a copy of the old ones, each as large as the state; a `.pt` file needs as much once more. `.pt` files are pickles:
 * they are read with `weights_only=True`, and only by torch 2.10 or newer.
 *
 * Throws BAD_DATA where the file cannot be read, is not what it claims to be, or does not fit, with a list of all that
 * does not fit; ENVIRONMENT where torch is too old for a `.pt` file; MISUSE for arguments that make no sense.
 */
export function loadWeights(
  module: Modules,
  path: string,
  { strict = true, prefix = "", rename, onProgress }: LoadWeightsOptions = {},
): Promise<LoadedWeights> {
  return traced("loadWeights", async () => {
    const worker = workerOfModules(module, "loadWeights");
    if (typeof prefix !== "string" || (rename !== undefined && typeof rename !== "function"))
      throw new TorchwireError("MISUSE", "loadWeights: prefix must be a string, and rename a function of a name");
    const named = (names: readonly string[]): string[] => renamed(names, prefix, rename);
    const load = (await isPickled(path)) ? loadPickled : loadSafetensors;
    return load(worker, module, path, strict, named, onProgress);
  });
}

type Load = (
  worker: Worker,
  module: Modules,
  path: string,
  strict: boolean,
  named: (names: readonly string[]) => string[],
  onProgress: LoadWeightsOptions["onProgress"],
) => Promise<LoadedWeights>;

/** All names travel in one operation, with some bytes beside each. */
const mostNames = 12 * 2 ** 20;

const loadSafetensors: Load = async (worker, module, path, strict, named, onProgress) => {
  const file = await openSafetensors(path);
  try {
    const names = named(file.tensors.map(({ name }) => name));
    const length = names.reduce((sum, name) => sum + name.length, 0);
    if (length + 64 * names.length > mostNames)
      throw new TorchwireError(
        "BAD_DATA",
        `${path}: it has ${names.length} tensors, whose names take ${length} characters: too many for a module`,
      );
    const infos = file.tensors.map(({ dtype, shape }, i) => [names[i]!, dtype, shape]);
    const versions = file.metadata["torchwire.versions"] ?? "";
    const loading = make(worker, "loading", "Loading", module, infos, versions);
    try {
      const isWanted = (await worker.scope(() => py.js(loading.wanted))) as readonly boolean[];
      const wanted = file.tensors.filter((_, i) => isWanted[i]);
      const total = wanted.reduce((sum, info) => sum + byteLengthOf(info), 0);
      await send(worker, loading, file.pieces(wanted, pieceBytes), total, onProgress);
      const found = (await worker.scope(() => py.js(loading.commit(strict)))) as Found;
      check(found, path);
      return report(found, file.metadata);
    } finally {
      loading[Symbol.dispose]();
    }
  } finally {
    await file.close();
  }
};

const loadPickled: Load = async (worker, module, path, strict, named, onProgress) => {
  const handle = await openToRead(path);
  const pickled = make(worker, "pickled", "Pickled", module);
  try {
    const refusal = (await worker.scope(() => py.js(pickled.refusal))) as string | null;
    if (refusal !== null) throw new TorchwireError("ENVIRONMENT", `${path} was not read: ${refusal}`);
    const { size } = await handle.stat();
    await send(worker, pickled, readRanges(handle, [[0, size]], pieceBytes, path), size, onProgress);
    const { problem, names } = (await worker.scope(() => py.js(pickled.open()))) as Opened;
    if (problem !== null) throw new TorchwireError("BAD_DATA", `${path}: ${problem}`);
    const found = (await worker.scope(() => py.js(pickled.commit(strict, named(names))))) as Found;
    check(found, path);
    return report(found, {});
  } finally {
    pickled[Symbol.dispose]();
    await handle.close();
  }
};

interface Opened {
  readonly problem: string | null;
  readonly names: readonly string[];
}

/** The names under which the file's tensors go to the module. Throws where two tensors would get one name. */
function renamed(names: readonly string[], prefix: string, rename: LoadWeightsOptions["rename"]): string[] {
  const found = names.map((name) => {
    const own = name.startsWith(prefix) ? name.slice(prefix.length) : name;
    return rename === undefined ? own : rename(own);
  });
  const seen = new Map<string, string>();
  for (const [i, name] of found.entries()) {
    if (typeof name !== "string")
      throw new TorchwireError(
        "MISUSE",
        `loadWeights: rename gave ${described(name)} for ${quoted(names[i]!)}, not a name`,
      );
    const other = seen.get(name);
    if (other !== undefined)
      throw new TorchwireError(
        "MISUSE",
        `loadWeights: prefix and rename give ${quoted(other)} and ${quoted(names[i]!)} of the file one name, ${quoted(name)}`,
      );
    seen.set(name, names[i]!);
  }
  return found;
}

/**
 * Hands `pieces` to `target.write`, in a lane of its own: failures elsewhere do not stop it, and it changes nothing
 * elsewhere.
 */
export function send(
  worker: Worker,
  target: AnyRef,
  pieces: AsyncIterable<Uint8Array>,
  total: number,
  onProgress?: LoadWeightsOptions["onProgress"],
): Promise<void> {
  return worker.lane(async () => {
    const taken: Promise<unknown>[] = [];
    let done = 0;
    const oldest = async (): Promise<void> => {
      done += (await taken.shift()) as number;
      onProgress?.(done, total);
    };
    for await (const piece of pieces) {
      taken.push(worker.scope(() => py.js(target.write(piece))));
      if (taken.length >= onTheWay) await oldest();
    }
    while (taken.length > 0) await oldest();
  });
}

function check({ is_loaded: isLoaded, ...found }: Found, path: string): void {
  if (isLoaded) return;
  const { fitting, missing, unexpected, mismatched, problems, prefix } = found;
  const lists: [what: string, names: readonly string[]][] = [
    ["in the module and missing in the file", missing],
    ["in the file and not in the module", unexpected],
    ["different in both", mismatched.map(([name, why]) => `${oneLine(name)} (${oneLine(why, 500)})`)],
    ["said by PyTorch or a hook of the module", problems.map((problem) => oneLine(problem, 500))],
  ];
  const lines = lists
    .filter(([, names]) => names.length > 0)
    .map(([what, names]) => `\n  ${names.length} ${what}: ${nameList(names)}`);
  const advice = [
    ...(problems.length > 0 ? [] : fitting === 0 ? ["nothing in it fits"] : []),
    ...(prefix === null ? [] : [adviceFor(prefix)]),
    ...(problems.length > 0 || prefix !== null || fitting === 0 ? [] : ["strict: false loads what fits"]),
  ].join("; ");
  throw new TorchwireError(
    "BAD_DATA",
    `${path} does not fit the module, which stays as it was${advice === "" ? "" : ` (${advice})`}${lines.join("")}`,
  );
}

/** Advice where one side's names begin with a prefix that the other's lack. */
function adviceFor([file, module]: readonly [file: string, module: string]): string {
  const differ = [
    ...(file === "" ? [] : [`the names in the file begin with ${quoted(file)}`]),
    ...(module === "" ? [] : [`those of the module begin with ${quoted(module)}`]),
  ];
  const options = [
    ...(file === "" ? [] : [`prefix: ${quoted(file)}`]),
    ...(module === "" ? [] : [`rename: (name) => ${quoted(module)} + name`]),
  ];
  return `${differ.join(", ")}, and are the same but for that: give loadWeights { ${options.join(", ")} }`;
}

const report = (found: Found, metadata: Readonly<Record<string, string>>): LoadedWeights => ({
  missing: found.missing,
  unexpected: found.unexpected,
  mismatched: found.mismatched.map(([name]) => name),
  metadata,
});

/**
 * `torch.save` writes a zip archive, or before torch 1.6 a bare pickle. The JSON of a safetensors file begins at the
 * ninth byte.
 */
async function isPickled(path: string): Promise<boolean> {
  const handle = await openToRead(path);
  try {
    const { buffer: start } = await handle.read(Buffer.alloc(9), 0, 9, 0);
    return start[8] !== 0x7b && (start.toString("latin1", 0, 4) === "PK\x03\x04" || start[0] === 0x80);
  } finally {
    await handle.close();
  }
}
