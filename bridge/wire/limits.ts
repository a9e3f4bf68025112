/** What one side may ask of the other, checked before anything is sent, allocated or run. The worker's own are told in WELCOME. */
export interface Limits {
  /** Bytes of one frame (default 4 GiB less one page). */
  readonly frameBytes: number;
  /** Tensor frames of one message. */
  readonly frames: number;
  /** Bytes of a message's meta. */
  readonly metaBytes: number;
  /** Operations of one batch. */
  readonly ops: number;
  /** Nesting of one argument. */
  readonly depth: number;
  /** Dimensions of one tensor (PyTorch's own limit is 64). */
  readonly dims: number;
}

export const defaultLimits: Limits = {
  frameBytes: 2 ** 32 - 4096,
  frames: 1024,
  metaBytes: 64 * 2 ** 20,
  ops: 4096,
  depth: 64,
  dims: 64,
};
