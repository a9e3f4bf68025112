/** Modules of one's own: declared from outside, through the package's entry. */
import { same, worker } from "../worker.ts";
import type { AnyRef, PyInt, Str } from "../worker.ts";
import type { PythonModule } from "torchwire/bridge";

declare module "torchwire" {
  interface PythonModules {
    mypackage: { answer(question: Str): PyInt; readonly version: PyInt };
  }
}

const mine = worker.import("mypackage");

export async function declared(): Promise<number> {
  same<PythonModule<"mypackage">, typeof mine>(true);
  return (await mine.version) + (await mine.answer("why"));
}

export function byName(name: string): AnyRef {
  same<AnyRef, PythonModule<"sklearn.metrics">>(true);
  return worker.import(name).anything;
}
