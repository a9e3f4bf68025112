"""Reads IDX files, plain or gzipped, and makes RGB images of MNIST's grey ones. Standard library and numpy."""

import gzip
import math
import struct
from pathlib import Path

import numpy as np

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path):
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    zero, code, dimensions = struct.unpack_from(">HBB", content)
    if zero != 0 or code not in TYPES:
        raise ValueError(f"{path}: not an IDX file, it starts with {content[:4].hex(' ')}")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    dtype = np.dtype(TYPES[code])
    start, size = 4 + 4 * dimensions, math.prod(shape) * dtype.itemsize
    if len(content) - start != size:
        raise ValueError(f"{path}: {size} bytes expected, found {len(content) - start}")
    return np.frombuffer(content, dtype, offset=start).astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def rgb_digits(directory, count):
    """`count` images of 28 x 28 x 3 from MNIST's training set, and their labels, all uint8.

    Image i has the grey images 3i, 3i+1 and 3i+2 as its red, green and blue planes, and the label of the first.
    """
    grey = read_idx(Path(directory) / "train-images-idx3-ubyte")
    labels = read_idx(Path(directory) / "train-labels-idx1-ubyte")
    if not 1 <= count <= len(grey) // 3:
        raise ValueError(f"{directory} has grey images for 1 to {len(grey) // 3} RGB ones, not for {count}")
    planes = grey[: 3 * count].reshape(count, 3, *grey.shape[1:])
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels[: 3 * count : 3].copy()
