"""Decodes image files, as torchvision's data sets do, by Pillow."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

# Each file begins at a multiple of this many bytes: client/data/list.ts packs them.
_ALIGNMENT = 64
# In Pillow's names.
_KINDS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF")
# So many bytes of pixels are decoded before they are resized. A larger image is decoded alone.
_MOST_BYTES = 256 * 2**20
_BYTES_PER_PIXEL = 4
_MOST_THREADS = 16
# An image of any limit may have so many times the pixels of its size before it is cut.
_MOST_CUT = 16


class BadDataError(Exception):
    """A file is not what it should be."""

    __module__ = "torchwire"


def decode(
    flat: Tensor, lengths: list[int], names: list[str], size: list[int] | None, fit: str, most_pixels: int
) -> Tensor:
    """Return images as uint8 [n, height, width, 3]. Their files, of these lengths, lie one after the other in `flat`.

    They are upright by their EXIF orientation. `size` is [height, width]; `fit` is "cover", "contain" or "fill".
    Threads of this module decode, and only the caller's thread uses PyTorch: grad mode belongs to a thread.

    Raises BadDataError with the name of the first image that cannot be read, and where sizes differ.
    """
    files = list(_files(flat, lengths))
    opened = [_named(name, _open, file, most_pixels) for name, file in zip(names, files, strict=True)]
    out: np.ndarray[Any, Any] | None = None if size is None else np.empty((len(names), *size, 3), np.uint8)
    at = 0
    for group in _groups(opened):
        for pixels in _each(_load, group, names[at : at + len(group)]):
            shown = pixels if size is None else _named(names[at], _resized, pixels, size, fit, most_pixels)
            if out is None:
                out = np.empty((len(names), *shown.shape), np.uint8)
            elif out.shape[1:] != shown.shape:
                raise BadDataError(
                    f"images of several sizes make no batch: {names[0]} has {out.shape[1]} × {out.shape[2]} pixels "
                    f"(height × width), {names[at]} has {shown.shape[0]} × {shown.shape[1]}; give the option size"
                )
            out[at] = shown
            at += 1
    assert out is not None
    return torch.from_numpy(out)


def _files(flat: Tensor, lengths: Sequence[int]) -> Iterator[np.ndarray[Any, Any]]:
    content = flat.numpy()
    start = 0
    for length in lengths:
        if start + length > len(content):
            raise ValueError(f"files of {sum(lengths)} bytes in {len(content)}")
        yield content[start : start + length]
        start += -(-length // _ALIGNMENT) * _ALIGNMENT


def _open(content: Any, most_pixels: int) -> Image.Image:
    """Read the header only."""
    Image.init()
    limit = Image.MAX_IMAGE_PIXELS
    # Pillow's own limit warns, and cannot be raised for one image.
    Image.MAX_IMAGE_PIXELS = None
    try:
        image = Image.open(io.BytesIO(content), formats=[kind for kind in _KINDS if kind in Image.OPEN])
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    pixels = image.width * image.height
    if pixels > most_pixels:
        raise ValueError(
            f"it has {pixels} pixels ({image.height} × {image.width}), more than {most_pixels}; "
            "make it smaller, or raise maxPixels"
        )
    return image


def _load(image: Image.Image) -> np.ndarray[Any, Any]:
    """Decode to uint8 [height, width, 3]. Alpha is dropped: transparent pixels keep their colour."""
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits at 255.
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.stack([grey] * 3, axis=-1)
    # (A palette keeps its colours; Pillow would warn of those that are transparent.)
    image.info.pop("transparency", None)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _resized(pixels: np.ndarray[Any, Any], size: Sequence[int], fit: str, most_pixels: int) -> np.ndarray[Any, Any]:
    """Return them as torchvision's Resize (bilinear, antialiased) makes them of a tensor, cut or padded to `size`."""
    from torchvision.transforms.v2 import functional

    (height, width), (rows, columns) = size, pixels.shape[:2]
    scaled = _scaled(rows, columns, height, width, fit)
    # One that is very long and narrow grows before it is cut. (Small sizes may grow a little past a low limit.)
    most_pixels = max(most_pixels, _MOST_CUT * height * width)
    if scaled[0] * scaled[1] > most_pixels:
        raise ValueError(
            f"it is {rows} × {columns}, and has to become {scaled[0]} × {scaled[1]} pixels to cover "
            f"{height} × {width}, more than {most_pixels}; cut it, or raise maxPixels"
        )
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    image = functional.resize(image, list(scaled), antialias=True)
    if fit == "cover":
        image = functional.center_crop(image, [height, width])
    found: np.ndarray[Any, Any] = image.permute(1, 2, 0).numpy()
    if fit != "contain":
        return found
    out = np.zeros((height, width, 3), np.uint8)
    top, left = (height - scaled[0]) // 2, (width - scaled[1]) // 2
    out[top : top + scaled[0], left : left + scaled[1]] = found
    return out


def _scaled(rows: int, columns: int, height: int, width: int, fit: str) -> tuple[int, int]:
    """Return the height and width to resize to. One side fits, the other keeps the proportions, rounded down."""
    if fit == "fill":
        return height, width
    by_height = rows * width <= columns * height if fit == "cover" else rows * width >= columns * height
    if by_height:
        return height, max(1, int(height * columns / rows))
    return max(1, int(width * rows / columns)), width


def _groups(images: Sequence[Image.Image]) -> Iterator[list[Image.Image]]:
    group: list[Image.Image] = []
    taken = 0
    for image in images:
        bytes = image.width * image.height * _BYTES_PER_PIXEL
        if group and taken + bytes > _MOST_BYTES:
            yield group
            group, taken = [], 0
        group.append(image)
        taken += bytes
    if group:
        yield group


def _each(work: Any, items: Sequence[Any], names: Sequence[str]) -> list[Any]:
    if len(items) == 1:
        return [_named(names[0], work, items[0])]
    waiting = [_threads().submit(work, item) for item in items]
    try:
        return [_named(name, one.result) for name, one in zip(names, waiting)]
    finally:
        for one in waiting:
            one.cancel()


def _named(name: str, work: Any, *given: Any) -> Any:
    try:
        return work(*given)
    except Exception as error:
        # (Pillow's own text names an object of Python.)
        reason = "it is no image of a known kind" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise BadDataError(f"cannot read the image {name}: {reason or type(error).__name__}") from error


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(min(cores, _MOST_THREADS), thread_name_prefix="torchwire-images")
