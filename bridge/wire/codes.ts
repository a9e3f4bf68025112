/**
 * The numbers of the wire, which python/torchwire_worker knows too: operations, fetch modes, tags of values, first ids.
 */

/**
 * Codes of operations: the first item of each operation's array. Every link of a chain and every result takes a
 * position in the log, which is its id.
 */
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
  /** [10, count]: the arguments of the call whose log this is; each has an id. */
  arguments: 10,
  /** [11, value]: ends the call with a result. */
  return: 11,
  /** [12, number, message, stack]: ends the call with an error. The number names it; a failure of its log, -id. */
  raise: 12,
} as const;

export const FetchMode = {
  /** A number, string, boolean, bigint or null; for anything else only its type. */
  settle: 0,
  /** Any value as plain JavaScript: containers are converted, tensors are arrays. */
  js: 1,
  /** A tensor or NumPy array, as an array. */
  ndarray: 2,
} as const;
export type FetchMode = (typeof FetchMode)[keyof typeof FetchMode];

/**
 * How a value is written. Numbers, text, booleans, null and bytes stand for themselves; all others are arrays that
 * begin with a tag.
 */
export const Tag = {
  /** [0, id] to Python; [0, id, type name] from it. */
  reference: 0,
  /** [1, ...items] */
  list: 1,
  /** [2, ...items] */
  tuple: 2,
  /** [3, key, value, key, value, …] */
  dict: 3,
  /** [4, index of the frame, dtype, shape], and the number of frames where it takes several. */
  tensor: 4,
  /** [5, hexadecimal]: an integer past 64 bits. */
  bigint: 5,
  /** [6, 8 bytes little-endian]: a float that a msgpack number would not carry as one (1.0, -0.0). */
  float: 6,
  /** [7, start, stop, step] */
  slice: 7,
  /** [8, index]: one of the functions that the batch passes. */
  function: 8,
} as const;

/** The ids of objects that every worker has from the start. */
export const WELL_KNOWN = { builtins: 1, operator: 2, helpers: 3 } as const;

/** The ids below this one are the worker's own. */
export const FIRST_ID = 16;
