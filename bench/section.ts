/** The input of each section of the bench. */
import type { Settings } from "./settings.ts";

export interface Surroundings extends Settings {
  /** The interpreter for all sides. */
  readonly python: string;
  /** Whether malloc is glibc's. */
  readonly glibc: boolean;
  /** The GPU's name; null where there is none. */
  readonly gpu: string | null;
  readonly progress: (text: string) => void;
  /** Called with the worker's versions. */
  readonly sawVersions: (versions: Readonly<Record<string, string>>) => void;
}
