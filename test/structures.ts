/** The models of test/native/structures.py, whose outputs are structures. */
import { fileURLToPath } from "node:url";
import { py, type Worker } from "torchwire";
import type { AnyRef } from "../bridge/types/core.ts";

const FILE = fileURLToPath(new URL("native/structures.py", import.meta.url));

/** A function that gives what the file has by a name. */
export function structures(worker: Worker): (name: string) => AnyRef {
  const names = worker.import("runpy").run_path(FILE) as AnyRef;
  return (name) => py.at(names, name);
}

/** The result of an expression of Python's. */
export const evaluated = (worker: Worker, source: string, names: Record<string, unknown> = {}): AnyRef =>
  worker.import("builtins").eval(source, { torch: worker.import("torch"), ...names }) as AnyRef;
