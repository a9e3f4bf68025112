/** The numbers that stand for something on the wire. python/torchwire_worker has the same. */

/** Operation codes, first in each operation's array. A position in the log, and so an id, goes to every link and every result. */
export const Op = {
  /** [0, module] */
  import: 0,
  /** [1, target, [name, …]]: a chain of attributes; each link has an id. */
  get: 1,
  /** [2, target, [name, …], args, kwargs]: a chain, then a call; each link has an id, and so has the result. */
  call: 2,
  /** [3, target, name, value] */
  set: 3,
  /** [4, target, name] */
  del: 4,
  /** [5, target, key] */
  getItem: 5,
  /** [6, target, key, value] */
  setItem: 6,
  /** [7, target, key] */
  delItem: 7,
  /** [8, target, FetchMode] */
  fetch: 8,
  /** [9, [first, last, first, last, …]]: ranges of ids; run whatever failed before. */
  release: 9,
} as const;

export const FetchMode = {
  /** A number, string, boolean, bigint or null; of anything else only what it is. */
  settle: 0,
  /** Containers converted, tensors as arrays. */
  js: 1,
  /** A tensor or NumPy array, as an array. */
  ndarray: 2,
} as const;
export type FetchMode = (typeof FetchMode)[keyof typeof FetchMode];

/** How a value is written. Numbers, text, booleans, null and bytes stand for themselves; all others are arrays that begin with a tag. */
export const Tag = {
  /** [0, id] to Python; [0, id, type name] from it. */
  reference: 0,
  /** [1, ...items] */
  list: 1,
  /** [2, ...items] */
  tuple: 2,
  /** [3, key, value, key, value, …] */
  dict: 3,
  /** [4, index of the frame, dtype, shape]; with a fifth, the number of frames from there on that it takes, where it takes several. */
  tensor: 4,
  /** [5, hexadecimal]: an integer past 64 bits. */
  bigint: 5,
  /** [6, 8 bytes little-endian]: a float that a msgpack number would not carry as one (1.0, -0.0). */
  float: 6,
  /** [7, start, stop, step] */
  slice: 7,
} as const;

/** The ids of objects that every worker has from the start. */
export const WELL_KNOWN = { builtins: 1, operator: 2, helpers: 3 } as const;

/** The ids below this one are the worker's own. */
export const FIRST_ID = 16;
