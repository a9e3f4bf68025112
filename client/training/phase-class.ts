/** Classes of phases as options: `phase: ValidationPhase`. */
import type { Kind } from "../options/keywords.ts";
import { kind } from "../options/kinds.ts";
import { Phase } from "./phases.ts";

export type PhaseClass = abstract new (...args: any[]) => Phase;

export const phaseClass: Kind = kind(
  "a class of phases",
  (value) => typeof value === "function" && ((value as unknown) === Phase || value.prototype instanceof Phase),
);
