/** Tells what a run is of, so that a checkpoint of another one is refused. */
import { createHash, type Hash } from "node:crypto";
import { basename } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import { toBytes, fromBytes, itemSize, sizeOf } from "../../bridge/values/ndarray.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import { ArrayDataset, Subset } from "../data/dataset.ts";
import { ImageFolder } from "../data/images.ts";
import { WorkerBatches } from "../data/from-worker.ts";
import { DataLoader } from "../data/loader.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import type { Manifest } from "./manifest.ts";
import { toPlain } from "./plain.ts";
import type { Resumable } from "./states.ts";

type Program = Manifest["program"];

/** The rows of arrays that are looked at, spread over all: reading all of them could take long. */
const ROWS = 64;

/** Each thing that must be the same, from the outside to the inside. Modules and optimizers are in the worker. */
export async function programOf(learner: Resumable, sides: { readonly [side: string]: unknown }): Promise<Program> {
  const { worker, loss, callbacks, backend } = learner;
  const own: [string, string][] = [
    ...Object.entries(sides).flatMap(([side, data]) =>
      Object.entries(dataSettings(data)).map(([name, value]): [string, string] => [`${side} data: ${name}`, value]),
    ),
    ["batches that are accumulated", String(backend.accumulate)],
    ["the loss", typeof loss === "object" ? JSON.stringify(withoutReferences(loss)) : described(loss)],
    ["the callbacks", callbacks.map(({ name }) => name).join(", ")],
    ...callbacks.flatMap(({ name, options = {} }) =>
      Object.entries(options).map(([option, value]): [string, string] => [
        `${option} of ${name}`,
        JSON.stringify(toPlain(withoutReferences(value), `${option} of ${name}`)),
      ]),
    ),
    ["what is tracked", [...learner.tracked.keys()].join(", ")],
  ];
  const helpers = worker.import("torchwire_worker.helpers.resuming");
  const theirs: unknown = await worker.scope(() => py.js(helpers.describe(modulesOf(learner), learner.optimizer)));
  return [...own, ...(theirs as Program)];
}

/** References have other numbers in each program, and the worker describes the objects that count. */
function withoutReferences(value: unknown): unknown {
  if (isReference(value)) return "an object in the worker";
  if (!isPlainObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, withoutReferences(part)]));
}

/** The learner's model, or models by name, as the worker's helpers take them. */
export const modulesOf = ({ model }: Trainer): unknown => model;

/** Throws BAD_DATA, naming the first thing that differs. */
export function refuseOther(program: Program, saved: Program, path: string): void {
  const there = new Map(saved);
  const here = new Map(program);
  const first = program.find(([what, how]) => there.get(what) !== how) ?? saved.find(([what]) => !here.has(what));
  if (first === undefined) return;
  const [what] = first;
  throw new TorchwireError(
    "BAD_DATA",
    `fit: ${path} is a checkpoint of another program: ${what} ${was(there.get(what))} there, and ${was(here.get(what)).replace("was", "is")} here; ` +
      "give this run a folder of its own, or the program back what it had",
  );
}

const was = (how: string | undefined): string => (how === undefined ? "was missing" : `was ${how}`);

function dataSettings(data: unknown): { readonly [name: string]: string } {
  if (data instanceof DataLoader) return loaderSettings(data);
  if (isReference(data)) return { kind: "data in the worker" };
  if (data instanceof WorkerBatches) {
    const { samples, batchSize, length: batches, order, position } = data;
    return textsOf({ samples, batchSize, batches, order, seed: position.seed });
  }
  const { length } = data as { readonly length?: unknown };
  return { kind: typeof length === "number" ? `${length} batches` : "batches of an iterable" };
}

function loaderSettings(loader: DataLoader<any, any>): { readonly [name: string]: string } {
  const { samples, batchSize } = loader;
  const { dropLast, order, seed, count, isCollated, orderOf } = loader.plan;
  const settings = { samples, batchSize, dropLast, order, seed, "samples in an epoch": count, collate: isCollated };
  return {
    ...textsOf(settings),
    // Weights and lengths, too, decide the order.
    ...(order === "drawn" && { "the order of an epoch": hashed(createHash("sha256").update(orderOf(0) ?? "")) }),
    ...sampled(loader),
  };
}

const textsOf = (settings: object): { readonly [name: string]: string } =>
  Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, String(value)]));

const hashed = (hash: Hash): string => hash.digest("hex").slice(0, 16);

/** A hash of some rows, where the data set is arrays, or of the names and classes of all images of a folder. */
function sampled(loader: DataLoader<any, any>): { readonly [name: string]: string } {
  const { dataset } = loader.plan;
  const [whole, indices] = dataset instanceof Subset ? [dataset.data, dataset.indices] : [dataset, undefined];
  if (whole instanceof ImageFolder) {
    const { classes, labels, paths } = whole;
    const names = JSON.stringify([classes, labels, paths.map((path) => basename(path)), indices && [...indices]]);
    return { "its images and classes": hashed(createHash("sha256").update(names)) };
  }
  if (!(whole instanceof ArrayDataset) || whole.ready() !== undefined) return {};
  return { "its bytes": ofRows(whole, dataset.length, indices) };
}

function ofRows(arrays: ArrayDataset, length: number, indices: ArrayLike<number> | undefined): string {
  const hash = createHash("sha256");
  const made: ArrayBufferView[] = [];
  for (let i = 0; i < Math.min(ROWS, length); i++) {
    const row = Math.floor((i * (length - 1)) / Math.max(1, Math.min(ROWS, length) - 1));
    const index = indices === undefined ? row : indices[row]!;
    arrays.gather({ start: index, end: index + 1, order: undefined }, (dtype, shape) => {
      const array = fromBytes(dtype, shape, new Uint8Array(sizeOf(shape) * itemSize(dtype)));
      made.push(array.data);
      return array;
    });
    for (const data of made.splice(0)) hash.update(toBytes(data));
  }
  return hashed(hash);
}
