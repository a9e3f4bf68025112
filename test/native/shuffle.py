"""The order of a shuffled epoch, as client/data/shuffle.ts documents it, but written on its own. Standard library only.

    python shuffle.py '[[10, 0, 0], [7, 42, 1]]'

prints the permutations for those [n, seed, epoch] as JSON.
"""

import json
import sys

MASK = 0xFFFFFFFF


def mix(h):
    """Return MurmurHash3's 32-bit finaliser of a number."""
    h ^= h >> 16
    h = h * 0x85EBCA6B & MASK
    h ^= h >> 13
    h = h * 0xC2B2AE35 & MASK
    return h ^ h >> 16


def rotate(x, bits):
    return (x << bits | x >> 32 - bits) & MASK


class Xoshiro128:
    """xoshiro128**, by Blackman and Vigna."""

    def __init__(self, seed, epoch):
        low, high = seed & MASK, seed >> 32
        words = []
        for i in range(1, 5):
            word = mix(i * 0x9E3779B9 & MASK)
            for part in (low, high, epoch):
                word = mix(word ^ part)
            words.append(word)
        self.state = words

    def next(self):
        s0, s1, s2, s3 = self.state
        result = rotate(s1 * 5 & MASK, 7) * 9 & MASK
        s2 ^= s0
        s3 ^= s1
        self.state = [s0 ^ s3, s1 ^ s2, s2 ^ (s1 << 9 & MASK), rotate(s3, 11)]
        return result

    def below(self, bound):
        """Return a number from 0 to bound - 1, all equally likely, for a bound of 2 or more."""
        bits = (bound - 1).bit_length()
        while True:
            drawn = self.next() >> 32 - bits
            if drawn < bound:
                return drawn


def permutation(n, seed, epoch=0):
    random = Xoshiro128(seed, epoch)
    order = list(range(n))
    for i in reversed(range(1, n)):
        j = random.below(i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def bucketed(lengths, batch, seed, epoch=0):
    """Return the batches of an epoch as lists of indices: samples of similar length, the batches in random order."""
    drawn = permutation(len(lengths), seed, epoch)
    pool = batch * max(1, min(50, len(drawn) // batch // 4))
    batches, rest = [], []
    starts = [start for start in range(0, len(drawn), pool) if start == 0 or len(drawn) - start >= pool]
    for start, end in zip(starts, [*starts[1:], len(drawn)]):
        by_length = sorted(drawn[start:end], key=lambda i: lengths[i])
        many, left = divmod(len(by_length), batch)
        if left:
            smaller = batch * permutation(many + 1, seed, epoch ^ 0x40000000)[0]
            rest = by_length[smaller : smaller + left]
            del by_length[smaller : smaller + left]
        batches += [by_length[i : i + batch] for i in range(0, len(by_length), batch)]
    order = permutation(len(batches), seed, epoch ^ 0x80000000)
    return [batches[i] for i in order] + [rest] * bool(rest)


if __name__ == "__main__":
    print(json.dumps([permutation(*case) for case in json.loads(sys.argv[1])]))
