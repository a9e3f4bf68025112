/** `learner.toPython`: a fit as a script of plain PyTorch. */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { traced } from "../../bridge/errors/site.ts";
import { py } from "../../bridge/reference/py.ts";
import { inner, isReference } from "../../bridge/reference/ref.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import type { PyTorchBackend } from "../backend/pytorch-backend.ts";
import type { Callback } from "../callback/callback.ts";
import { claim } from "../loop/claim.ts";
import { sidesOf } from "../loop/fit.ts";
import type { Preparations } from "../loop/preparations.ts";
import { described } from "../options/keywords.ts";
import { takesClosure } from "../optim/spec.ts";
import type { LearnerData, Trainer } from "../training/trainer.ts";
import { callbacksOf, type Length } from "./callbacks.ts";
import { exported, type Exported } from "./exported-data.ts";
import { functionsOf } from "./functions.ts";

export interface ToPythonOptions {
  /** The folder to write into. It is made where it is missing; files of the same names are replaced. */
  readonly folder: string;
  /**
   * Makes the model anew, with any weights: the construction that the script has. It is recorded, as by
   * `worker.function`, so it awaits nothing. A model of layers that keep their arguments, as those of torch.nn do, needs
   * none.
   */
  readonly model?: (() => PyObject) | PyObject;
  /** Takes the place of the learner's own data, as in `fit`. */
  readonly data?: LearnerData;
}

/** What `toPython` has written. */
export interface PythonScript {
  /** The script: `python fit.py` runs it. */
  readonly path: string;
  /** All files, the script first, by their absolute paths. */
  readonly files: readonly string[];
  /**
   * What of the fit the script lacks, one sentence each. The script says so at its place: as a comment, or as a
   * `NotImplementedError` where it cannot go on without. Without a gap it gives the bits of the fit.
   */
  readonly gaps: readonly string[];
}

/** The parts of a learner that a script is made of. */
export interface Source {
  readonly learner: Trainer & { readonly backend: PyTorchBackend; readonly callbacks: readonly Callback[] };
  readonly preparations: Preparations;
  /** Training epochs that have ended. */
  readonly epochs: number;
}

/** Bytes of start.pt in one message. */
const PIECE = 4 * 2 ** 20;

export function toPython(source: Source, epochs: number, options: ToPythonOptions): Promise<PythonScript> {
  return traced("toPython", async () => {
    const { learner, preparations } = source;
    check(learner, options);
    const { training, validation } = sidesOf(epochs, { data: options.data ?? {} }, learner.data);
    const release = claim(learner.worker, "toPython");
    try {
      await preparations.ready("toPython", true);
      const folder = await folderFor(options.folder);
      const sides = {
        training: await exported("training", training.given, epochs, folder),
        validation: validation && (await exported("validation", validation.given, epochs, folder)),
      };
      // Making a model draws random numbers: they are those of a fork.
      return await learner.worker.context({ rng: "fork" }, () => written(source, epochs, options, folder, sides));
    } finally {
      release();
    }
  });
}

interface Sides {
  readonly training: Exported;
  readonly validation: Exported | undefined;
}

async function written(
  { learner, epochs: before }: Source,
  epochs: number,
  { model: build }: ToPythonOptions,
  folder: string,
  { training, validation }: Sides,
): Promise<PythonScript> {
  const { worker, backend } = learner;
  const { accumulate, device, inPython } = backend;
  const { amp, channelsLast = false, clipGradNorm, clipGradValue, keywords, scaler } = inPython;
  const stepsPerEpoch = training.batches === undefined ? undefined : Math.ceil(training.batches / accumulate);
  const length: Length | undefined =
    stepsPerEpoch === undefined ? undefined : { steps: epochs * stepsPerEpoch, stepsPerEpoch };
  const real = (value: number | undefined): unknown => (value === undefined ? null : py.float(value));
  const { xs, ys } = training.like ?? {};
  const script = worker.scope(() => {
    const { write } = worker.import("torchwire_worker.helpers.script");
    return py.keep(
      write({
        epochs,
        epochs_before: before,
        model: learner.model,
        build: build === undefined ? null : isReference(build) ? build : worker.function(build as () => PyObject),
        optimizer: learner.optimizer,
        closure: takesClosure(learner.optimizer as object),
        device,
        accumulate,
        amp: amp ?? null,
        scaler: scaler ?? null,
        channels_last: channelsLast,
        compile: keywords ?? null,
        clip_norm: real(clipGradNorm),
        clip_value: real(clipGradValue),
        kind: Array.isArray(xs) ? "list" : xs === undefined || isNDArray(xs) ? "one" : "dict",
        // Whether each target counts: bytes cannot be -100, which PyTorch's losses ignore.
        all_count: isNDArray(ys) && ys.dtype === "uint8",
        training: training.told,
        validation: validation?.told ?? null,
        ...functionsOf(learner, training.like),
        ...callbacksOf(learner.callbacks, length),
      }) as AnyRef,
    );
  });
  try {
    const { files, gaps } = (await worker.scope(() => py.js(script.plan))) as {
      files: { [name: string]: Uint8Array };
      gaps: string[];
    };
    const start = join(folder, "start.pt");
    await rm(start, { force: true });
    const size = (await worker.scope(() => py.js(script.size))) as number;
    for (let at = 0; at < size; at += PIECE) {
      const { data } = await worker.scope(() => py.ndarray(script.read(at, Math.min(PIECE, size - at))));
      await writeFile(start, data as Uint8Array, { flag: "a" });
    }
    for (const [name, text] of Object.entries(files)) {
      const path = join(folder, name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, text);
    }
    const data = [training, validation].flatMap((side) => (side?.told["files"] ?? []) as string[]);
    const others = [...Object.keys(files).filter((name) => name !== "fit.py"), "start.pt", ...data];
    const path = join(folder, "fit.py");
    return { path, files: [path, ...others.map((name) => join(folder, name))], gaps };
  } finally {
    script[Symbol.dispose]();
  }
}

function check(learner: Trainer, options: ToPythonOptions): void {
  const misuse = (what: string): never => {
    throw new TorchwireError("MISUSE", `toPython: ${what}`);
  };
  if (typeof options !== "object" || options === null || typeof options.folder !== "string" || options.folder === "")
    misuse('say where to write: learner.toPython(epochs, { folder: "fit-as-python" })');
  for (const name of Object.keys(options))
    if (!["folder", "model", "data"].includes(name)) misuse(`there is no option "${name}"; it has folder, model, data`);
  const { model } = options;
  if (model !== undefined && typeof model !== "function")
    misuse(`model is ${described(model)}; it must be a function that makes the model: () => torch.nn.Linear(4, 1)`);
  if (inner(learner.model) === undefined)
    misuse("the learner has several models, which a phase of the program's own trains: it has no form in Python");
}

async function folderFor(given: string): Promise<string> {
  const folder = resolve(given);
  try {
    await mkdir(folder, { recursive: true });
  } catch (cause) {
    throw new TorchwireError("NOT_SAVED", `toPython: cannot write to ${folder}: ${(cause as Error).message}`, {
      cause,
    });
  }
  return folder;
}
