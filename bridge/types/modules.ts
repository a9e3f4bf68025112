/** What `worker.import` gives for each name. */
import type { AnyRef } from "./core.ts";
import type { Functional } from "./functional.ts";
import type { Nn } from "./nn.ts";
import type { Optim } from "./optim.ts";
import type { Cuda, Torch } from "./torch.ts";
import type { Models, Torchvision } from "./torchvision.ts";

/**
 * Types for modules of one's own, or better ones for a bundled module:
 *
 *     declare module "torchwire" {
 *       interface PythonModules { mypackage: { answer(): PyInt } }
 *     }
 *
 * It is empty here, because an interface cannot be given the same name twice, and what a user declares wins.
 */
export interface PythonModules {}

/** The modules that have types without anybody declaring them. */
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

/** The type of the Python module `K`: `AnyRef` for one that nobody has declared. */
export type PythonModule<K> = K extends keyof PythonModules
  ? PythonModules[K]
  : K extends keyof BundledModules
    ? BundledModules[K]
    : AnyRef;
