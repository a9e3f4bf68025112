/** `torchwire/bridge`: the worker and references to Python objects, without a learner. */
// First: where nothing of this can work, it says so before anything else is loaded.
import "./platform.ts";

export { spawnWorker, type SpawnOptions } from "./start/spawn.ts";
export { connectWorker, type ConnectOptions } from "./start/connect.ts";
export { withWorker, type WithWorkerOptions, type WorkerRun } from "./recovery/with-worker.ts";
export type { RestartOptions } from "./recovery/restarts.ts";
export type { SshTarget } from "./ssh/far.ts";
export type { LinkChange, LinkState } from "./link/transport.ts";
export type { Liveness, LivenessState } from "./session/control.ts";
export type { Limits } from "./wire/limits.ts";
export { ensurePython, type EnsureOptions } from "./environment/ensure.ts";
export { Worker, type KeptCounts, type NestedNumbers, type TensorOptions, type WorkerStats } from "./worker.ts";
export type { Pace } from "./pace/pace.ts";
export type { ContextOptions } from "./log/context.ts";
export type { ModuleOptions } from "./source/modules.ts";
export { EnvironmentError, TorchwireError, type ErrorCode } from "./errors/errors.ts";
export { PythonError, type PythonFrame } from "./errors/python-error.ts";
export { WorkerExitedError } from "./start/process.ts";

export { kw } from "./reference/kw.ts";
export { py } from "./reference/py.ts";
export { bfloat16, float16, type HalfFloat } from "./values/half.ts";
export { fromBytes, type DType, type NDArray, type TypedArray } from "./values/ndarray.ts";
export { lend } from "./values/lend.ts";

// The types of references, for declaring modules of one's own.
export type * from "./types/core.ts";
export type { PyFunction } from "./types/function.ts";
export type { BundledModules, KnownModule, ModuleName, PythonModule, PythonModules } from "./types/modules.ts";
export type { Module, Network } from "./types/module.ts";
export type { Linear } from "./types/nn.ts";
export type { Optimizer } from "./types/optim.ts";
export type { Parameter, Tensor } from "./types/tensor.ts";
export type { ResNet } from "./types/torchvision.ts";
