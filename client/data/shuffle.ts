import { TorchwireError } from "../../bridge/errors/errors.ts";

/**
 * The order of a shuffled epoch: a permutation of 0 … n-1 that depends on `n`, `seed` and `epoch` alone. It is the same
 * on every platform and in every version. `test/native/shuffle.py` is the same algorithm in Python.
 *
 * - Generator: xoshiro128**, four 32-bit words of state. Word i (0 to 3) starts as
 *   `mix(mix(mix(mix((i + 1) * 0x9e3779b9) ^ low) ^ high) ^ epoch)`, where low and high are the seed's lower and upper
 *   32 bits and `mix` is MurmurHash3's 32-bit finaliser.
 * - A number below `bound`: the upper bits of the generator's output, as many as `bound - 1` has, drawn again until
 *   they are below `bound`. This has no bias.
 * - Fisher–Yates from the top: for i = n-1 … 1, position i is swapped with a position drawn below i + 1.
 *
 * `seed` is an integer from 0 to 2^53 - 1, `epoch` (default: 0) one from 0 to 2^32 - 1, `n` one from 0 to 2^32 - 1.
 * Throws MISUSE.
 */
export function permutation(n: number, seed: number, epoch = 0): Uint32Array {
  checkWhole("n", n, 0xffffffff);
  checkWhole("seed", seed, Number.MAX_SAFE_INTEGER);
  checkWhole("epoch", epoch, 0xffffffff);
  const next = xoshiro(seed, epoch);
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) order[i] = i;
  for (let i = n - 1; i > 0; i--) {
    const shift = Math.clz32(i);
    let j = next() >>> shift;
    while (j > i) j = next() >>> shift;
    const there = order[j]!;
    order[j] = order[i]!;
    order[i] = there;
  }
  return order;
}

/**
 * Draws `count` of 0 … n-1 with replacement, each in proportion to its weight. As with `permutation`, the result is the
 * same on every platform and in every version.
 *
 * Each draw takes two words of the generator. The upper 27 bits of one and the upper 26 of the other make a share from
 * 0 to 1 with 53 bits. The weights are summed in order, in float64; the draw takes the first sum above that share of
 * the total. Throws MISUSE.
 */
export function weightedSample(weights: ArrayLike<number>, count: number, seed: number, epoch = 0): Uint32Array {
  checkWhole("count", count, 0xffffffff);
  checkWhole("seed", seed, Number.MAX_SAFE_INTEGER);
  checkWhole("epoch", epoch, 0xffffffff);
  const sums = new Float64Array(weights.length);
  let total = 0;
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i]!;
    if (!(weight >= 0 && weight < Infinity))
      throw new TorchwireError(
        "MISUSE",
        `weight ${i} is ${String(weight)}; a weight must be a finite number from 0 on`,
      );
    sums[i] = total += weight;
  }
  if (!(total > 0 && total < Infinity))
    throw new TorchwireError("MISUSE", `the weights add up to ${total}: there is nothing to draw from`);
  const next = xoshiro(seed, epoch);
  return Uint32Array.from({ length: count }, () => {
    const share = ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
    return firstAbove(sums, share * total);
  });
}

/** The index of the first of the growing `sums` that is above `limit`. */
function firstAbove(sums: Float64Array, limit: number): number {
  let [low, high] = [0, sums.length - 1];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sums[middle]! > limit) high = middle;
    else low = middle + 1;
  }
  return low;
}

function xoshiro(seed: number, epoch: number): () => number {
  const low = seed >>> 0;
  const high = Math.floor(seed / 2 ** 32);
  const word = (i: number): number => mix(mix(mix(mix(Math.imul(i + 1, 0x9e3779b9)) ^ low) ^ high) ^ epoch);
  let a = word(0);
  let b = word(1);
  let c = word(2);
  let d = word(3);
  return () => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotate(d, 11);
    return result;
  };
}

function rotate(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits));
}

/**
 * One to one on 32-bit words: the four words of a state differ before the seed comes in, so they cannot all become
 * zero.
 */
function mix(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function checkWhole(name: string, value: number, max: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= max) return;
  throw new TorchwireError("MISUSE", `${name} must be an integer from 0 to ${max}, not ${String(value)}`);
}
