/** Modules of one's own: declared from outside, through the package's entry. */
import { same, worker } from "../worker.ts";
import type { AnyRef, PyInt, Str } from "../worker.ts";
import type { ModuleName, PythonModule } from "torchwire/bridge";

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

export function own(path: string): unknown[] {
  same<"mypackage", ModuleName<"../src/mypackage/">>(true);
  same<"my_unet", ModuleName<"my_unet.py">>(true);
  const byName = worker.module("./src/mypackage.py", { reload: true });
  same<PythonModule<"mypackage">, typeof byName>(true);
  const untyped = worker.module("./my_unet.py");
  same<AnyRef, typeof untyped>(true);
  const anyPath = worker.module(path);
  same<AnyRef, typeof anyPath>(true);
  const byUrl = worker.module(new URL("./my_unet.py", import.meta.url));
  same<AnyRef, typeof byUrl>(true);
  const told = worker.module<PythonModule<"mypackage">>("./other.py");
  same<PythonModule<"mypackage">, typeof told>(true);
  return [byName, untyped, anyPath, byUrl, told];
}
