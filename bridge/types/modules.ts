/** The types that `worker.import` gives by name. */
import type { AnyRef } from "./core.ts";
import type { Functional } from "./functional.ts";
import type { Nn } from "./nn.ts";
import type { Optim } from "./optim.ts";
import type { Cuda, Torch } from "./torch.ts";
import type { Models, Torchvision } from "./torchvision.ts";

/**
 * Types for modules of your own, or better types for a bundled module:
 *
 *     import type { PyInt } from "torchwire/bridge";
 *
 *     declare module "torchwire" {
 *       interface PythonModules { mypackage: { answer(): PyInt } }
 *     }
 *
 * It is empty here, because no name can be declared twice, and a user's declaration wins.
 */
export interface PythonModules {}

/** The modules whose types come with the package. */
export interface BundledModules {
  torch: Torch;
  "torch.cuda": Cuda;
  "torch.nn": Nn;
  "torch.nn.functional": Functional;
  "torch.optim": Optim;
  torchvision: Torchvision;
  "torchvision.models": Models;
}

export type KnownModule = keyof PythonModules | keyof BundledModules;

/** The type of the Python module `K`: `AnyRef` where nobody has declared it. */
export type PythonModule<K> = K extends keyof PythonModules
  ? PythonModules[K]
  : K extends keyof BundledModules
    ? BundledModules[K]
    : AnyRef;

/** The name under which Python imports a file or a package: "./nets/my_unet.py" is my_unet. */
export type ModuleName<P extends string> = P extends `${infer Q}/`
  ? ModuleName<Q>
  : P extends `${string}/${infer Q}`
    ? ModuleName<Q>
    : P extends `${infer N}.py`
      ? N
      : P;
