/** The input of each section of the bench. */
import type { Settings } from "./settings.ts";

export interface Surroundings extends Settings {
  /** The interpreter for all sides. */
  readonly python: string;
  /** Whether malloc is glibc's. */
  readonly glibc: boolean;
  readonly progress: (text: string) => void;
  /** Called with the worker's versions. */
  readonly sawVersions: (versions: Readonly<Record<string, string>>) => void;
}
