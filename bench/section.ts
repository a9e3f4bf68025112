/** What the sections of the bench are given. */
import type { Settings } from "./settings.ts";

export interface Surroundings extends Settings {
  /** The interpreter, for all sides. */
  readonly python: string;
  /** malloc is glibc's. */
  readonly glibc: boolean;
  readonly progress: (text: string) => void;
  /** To be told what the worker says it is. */
  readonly sawVersions: (versions: Readonly<Record<string, string>>) => void;
}
