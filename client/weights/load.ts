import { TorchwireError } from "../../bridge/errors.ts";
import { py } from "../../bridge/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { byteLengthOf } from "./header.ts";
import { workerOfModules, make, type Modules, nameList, onTheWay, pieceBytes } from "./modules.ts";
import { openSafetensors, openToRead, readRanges } from "./safetensors.ts";
import { traced } from "../../bridge/site.ts";

export interface LoadWeightsOptions {
  /** True (the default): the file must have each of the module's tensors and no others. False: what fits is loaded. */
  readonly strict?: boolean;
  /** Called after each piece that the worker has taken, with bytes. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** What did not fit, by name; all of it is empty where `strict` is true. */
export interface LoadedWeights {
  /** In the module, and not in the file: left as it was. */
  readonly missing: readonly string[];
  /** In the file, and not in the module. */
  readonly unexpected: readonly string[];
  /** In both, with different shapes: left as it was. */
  readonly mismatched: readonly string[];
  /** The strings in the header of a safetensors file. */
  readonly metadata: Readonly<Record<string, string>>;
}

interface Found {
  readonly fitting: readonly string[];
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly mismatched: readonly [name: string, why: string][];
}

/**
 * Loads a module's state from a file on this machine: safetensors, or a state dict that `torch.save` wrote, which may lie under "state_dict",
 * "model_state_dict" or "model" in a larger one. Which of the two it is, its first bytes tell. `{ generator, critic }` loads several from one file.
 *
 * Values are converted to the dtypes, and moved to the devices, of what they replace; tied tensors are found under any of their names. They are gathered
 * in the worker's main memory (as much as the state has; a `.pt` file twice that), and put in all at once: a load that fails leaves the module as it was.
 * `.pt` files are pickles; they are read with `weights_only=True`, and only by a torch of 2.10 or newer.
 *
 * Throws BAD_DATA where the file cannot be read, is not what it says it is, or does not fit, with everything that does not, ENVIRONMENT for a torch that
 * must not read a `.pt` file, MISUSE for arguments that make no sense.
 */
export function loadWeights(
  module: Modules,
  path: string,
  { strict = true, onProgress }: LoadWeightsOptions = {},
): Promise<LoadedWeights> {
  return traced("loadWeights", async () => {
    const worker = workerOfModules(module, "loadWeights");
    const load = (await isPickled(path)) ? loadPickled : loadSafetensors;
    return load(worker, module, path, strict, onProgress);
  });
}

type Load = (
  worker: Worker,
  module: Modules,
  path: string,
  strict: boolean,
  onProgress: LoadWeightsOptions["onProgress"],
) => Promise<LoadedWeights>;

const loadSafetensors: Load = async (worker, module, path, strict, onProgress) => {
  const file = await openSafetensors(path);
  try {
    const infos = file.tensors.map(({ name, dtype, shape }) => [name, dtype, shape]);
    const loading = make(worker, "state", "Loading", module, infos);
    try {
      const found = (await worker.scope(() => py.js(loading.found))) as Found;
      check(found, path, strict);
      const fitting = new Set(found.fitting);
      const wanted = file.tensors.filter(({ name }) => fitting.has(name));
      const total = wanted.reduce((sum, info) => sum + byteLengthOf(info), 0);
      await send(worker, loading, file.pieces(wanted, pieceBytes), total, onProgress);
      await worker.scope(() => py.js(loading.commit()));
      return report(found, file.metadata);
    } finally {
      loading[Symbol.dispose]();
    }
  } finally {
    await file.close();
  }
};

const loadPickled: Load = async (worker, module, path, strict, onProgress) => {
  const handle = await openToRead(path);
  const pickled = make(worker, "pickled", "Pickled", module);
  try {
    const refusal = (await worker.scope(() => py.js(pickled.refusal))) as string | null;
    if (refusal !== null) throw new TorchwireError("ENVIRONMENT", `${path} was not read: ${refusal}`);
    const { size } = await handle.stat();
    await send(worker, pickled, readRanges(handle, [[0, size]], pieceBytes, path), size, onProgress);
    const found = (await worker.scope(() => py.js(pickled.open()))) as Found & { readonly problem: string | null };
    if (found.problem !== null) throw new TorchwireError("BAD_DATA", `${path}: ${found.problem}`);
    check(found, path, strict);
    await worker.scope(() => py.js(pickled.commit()));
    return report(found, {});
  } finally {
    pickled[Symbol.dispose]();
    await handle.close();
  }
};

/** Hands `pieces` to `target.write`, in a lane of its own: nothing that fails elsewhere stops it, and nothing is changed by it. */
function send(
  worker: Worker,
  target: AnyRef,
  pieces: AsyncIterable<Uint8Array>,
  total: number,
  onProgress: LoadWeightsOptions["onProgress"],
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

function check(found: Found, path: string, strict: boolean): void {
  const { fitting, missing, unexpected, mismatched } = found;
  const none = fitting.length === 0 && missing.length + mismatched.length > 0;
  if (strict ? missing.length + unexpected.length + mismatched.length === 0 : !none) return;
  const lists: [what: string, names: readonly string[]][] = [
    ["in the module and missing in the file", missing],
    ["in the file and not in the module", unexpected],
    ["different in both", mismatched.map(([name, why]) => `${name} (${why})`)],
  ];
  const lines = lists
    .filter(([, names]) => names.length > 0)
    .map(([what, names]) => `\n  ${names.length} ${what}: ${nameList(names)}`);
  const advice = none ? "nothing in it fits" : "strict: false loads what fits";
  throw new TorchwireError(
    "BAD_DATA",
    `${path} does not fit the module, which is as it was (${advice})${lines.join("")}`,
  );
}

const report = (found: Found, metadata: Readonly<Record<string, string>>): LoadedWeights => ({
  missing: found.missing,
  unexpected: found.unexpected,
  mismatched: found.mismatched.map(([name]) => name),
  metadata,
});

/** As torch.save writes: a zip archive, or (before torch 1.6) a bare pickle. The header of a safetensors file begins at its ninth byte. */
async function isPickled(path: string): Promise<boolean> {
  const handle = await openToRead(path);
  try {
    const { buffer: start } = await handle.read(Buffer.alloc(9), 0, 9, 0);
    return start[8] !== 0x7b && (start.toString("latin1", 0, 4) === "PK\x03\x04" || start[0] === 0x80);
  } finally {
    await handle.close();
  }
}
