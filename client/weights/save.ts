import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { byteLengthOf, type SafetensorsDType, type TensorInfo } from "./header.ts";
import { workerOfModules, make, type Modules, nameList, onTheWay, pieceBytes } from "./modules.ts";
import { writeSafetensors } from "./safetensors.ts";
import { traced } from "../../bridge/errors/site.ts";

export interface SaveWeightsOptions {
  /** Strings for the file's header. By default it has `format: "pt"`, which other libraries require. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Called, with bytes, after each piece that was written. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

interface Described {
  readonly tensors: readonly [name: string, dtype: SafetensorsDType, shape: number[]][];
  readonly refused: readonly [name: string, why: string][];
  /** The worker's part of the header. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Writes the state of a module (its parameters and persistent buffers) to a safetensors file on this machine.
 * `{ generator, critic }` writes several modules into one file.
 *
 * The file has the state at this call's place in the program: the worker copies it at once, in its main memory, so
 * training may go on meanwhile. That costs the worker as much memory as the state has, and the time of one copy; this
 * side holds a few pieces of 4 MiB. Tied tensors are written under each of their names. Names are those of a model that
 * was not compiled. An interrupted save leaves the old file as it was.
 *
 * Throws NOT_SAVED where the file cannot be written or the state holds anything but dense tensors, and MISUSE for
 * arguments that make no sense.
 */
export function saveWeights(
  module: Modules,
  path: string,
  { metadata, onProgress }: SaveWeightsOptions = {},
): Promise<void> {
  return traced("saveWeights", async () => {
    const worker = workerOfModules(module, "saveWeights");
    if (/\.(?:pt|pth|bin|ckpt|pkl)$/i.test(path))
      throw new TorchwireError(
        "MISUSE",
        `saveWeights writes the safetensors format: call the file ….safetensors, not ${path}`,
      );
    const snapshot = make(worker, "state", "Snapshot", module);
    try {
      const { tensors, refused, metadata: own } = (await worker.scope(() => py.js(snapshot.plan))) as Described;
      if (refused.length > 0) throw notTensors(path, refused);
      const infos = tensors.map(([name, dtype, shape]): TensorInfo => ({ name, dtype, shape }));
      const total = infos.reduce((sum, info) => sum + byteLengthOf(info), 0);
      // A lane of its own: the state is copied, so failures elsewhere must not stop its saving.
      await worker.lane(() =>
        writeSafetensors(path, infos, fetched(worker, snapshot, total, onProgress), {
          format: "pt",
          ...own,
          ...metadata,
        }),
      );
    } finally {
      snapshot[Symbol.dispose]();
    }
  });
}

/** The `total` bytes of `snapshot`, a `Copies` of the worker, in pieces. */
export async function* fetched(
  worker: Worker,
  snapshot: AnyRef,
  total: number,
  onProgress?: SaveWeightsOptions["onProgress"],
): AsyncGenerator<Uint8Array, void> {
  const asked: ReturnType<typeof py.ndarray>[] = [];
  for (let at = 0, done = 0; done < total;) {
    for (; at < total && asked.length < onTheWay; at += pieceBytes)
      asked.push(worker.scope(() => py.ndarray(snapshot.read(Math.min(pieceBytes, total - at)))));
    const { data } = await asked.shift()!;
    yield data as Uint8Array;
    done += data.length;
    onProgress?.(done, total);
  }
}

function notTensors(path: string, refused: Described["refused"]): TorchwireError {
  const list = nameList(refused.map(([name, why]) => `${name} (${why})`));
  return new TorchwireError(
    "NOT_SAVED",
    `${path} was not written, because a safetensors file holds dense tensors only: ${list}. ` +
      "Extra state can be returned as a tensor by get_extra_state, or be saved apart, with torch.save in the worker.",
  );
}
