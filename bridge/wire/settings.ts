/**
 * The settings of a worker's whole process: the same options for a spawned worker and for one that serves elsewhere.
 */
import { TorchwireError } from "../errors/errors.ts";
import { limitsOf, type Limits } from "./limits.ts";

export interface WorkerSettings {
  /**
   * "cuda" fails where there is no GPU. "auto" (the default) takes the GPU where there is one, else the CPU; a worker
   * that serves may have another default.
   */
  readonly device?: "auto" | "cpu" | "cuda" | `cuda:${number}`;
  /** Seeds Python's, NumPy's and PyTorch's generators. Default: unseeded. */
  readonly seed?: number;
  /**
   * Use only deterministic algorithms (`torch.use_deterministic_algorithms`): an operation without one is an error.
   * With "warn" it runs all the same, and `worker.stats()` names it, as `worker.nondeterministic`. Default false.
   */
  readonly deterministic?: boolean | "warn";
  /** Threads of PyTorch's operations (`torch.set_num_threads`). Default: as PyTorch chooses. */
  readonly threads?: number;
  /** Keep large activations mapped between steps (glibc's malloc only; see docs/performance.md). Default true. */
  readonly malloc?: boolean;
  /** Limits on messages, values and operations in flight, here and in the worker; see docs/wire.md. */
  readonly limits?: Partial<Limits>;
}

/** The settings as the worker is told them. */
export interface WireSettings {
  readonly device: string;
  readonly seed: number | null;
  readonly deterministic: boolean | "warn";
  readonly threads: number | null;
  readonly malloc: boolean;
}

/** More threads end the process. */
const MOST_THREADS = 1024;

export const defaultSettings = { device: "auto", deterministic: false, malloc: true } as const;

/** @throws MISUSE, which names the function `of`. */
export function settingsOf(of: string, options: WorkerSettings): WireSettings {
  const { device, seed, deterministic, threads, malloc } = { ...defaultSettings, ...given(options) };
  const refuse = (what: string): never => {
    throw new TorchwireError("MISUSE", `${of}: ${what}`);
  };
  if (!/^(auto|cpu|cuda(:\d+)?)$/.test(device)) refuse(`device is "${device}"; it may be auto, cpu, cuda or cuda:N`);
  if (seed !== undefined && !Number.isSafeInteger(seed)) refuse(`seed is ${seed}, not a whole number`);
  if (typeof deterministic !== "boolean" && deterministic !== "warn")
    refuse(`deterministic must be true, false or "warn", not ${JSON.stringify(deterministic)}`);
  if (threads !== undefined && !(Number.isSafeInteger(threads) && threads > 0 && threads <= MOST_THREADS))
    refuse(`threads is ${threads}, not a whole number from 1 to ${MOST_THREADS}`);
  limitsOf(options.limits ?? {});
  return { device, seed: seed ?? null, deterministic, threads: threads ?? null, malloc };
}

const given = <T extends object>(options: T): T =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
