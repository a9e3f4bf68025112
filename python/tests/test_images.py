"""Image files decoded in the worker: torchvision's own pixels, and what is said of files that are no images."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2

from torchwire_worker.helpers import images
from torchwire_worker.helpers.images import BadDataError

MOST = 89_478_485


def picture(width: int, height: int, channels: int = 3) -> np.ndarray:
    y, x, c = np.mgrid[:height, :width, :channels]
    noise = np.random.default_rng(width * height).integers(0, 40, (height, width, channels))
    found = (100 + 60 * np.sin(x / 7 + c) + 50 * np.cos(y / 5 - c) + noise).clip(0, 255).astype(np.uint8)
    return found[:, :, 0] if channels == 1 else found


def file_of(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpeg(width: int, height: int, **options) -> bytes:
    return file_of(Image.fromarray(picture(width, height)), "JPEG", quality=90, **options)


def decoded(files, size=None, fit="cover", most=MOST):
    lengths = [len(file) for file in files]
    flat = b"".join(file + bytes(-len(file) % 64) for file in files)
    names = [f"photos/{i}.jpg" for i in range(len(files))]
    tensor = torch.frombuffer(bytearray(flat), dtype=torch.uint8)
    return images.decode(tensor, lengths, names, size, fit, most)


def as_torchvision(file: bytes, *transforms) -> torch.Tensor:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
    return v2.Compose([v2.PILToTensor(), *transforms])(image).permute(1, 2, 0)


FORMS = [(50, 37), (37, 50), (24, 24), (61, 24), (10, 9), (3, 200), (224, 223)]


@pytest.mark.parametrize("side", [24, 7])
def test_cover_is_torchvisions_resize_and_center_crop(side):
    files = [jpeg(*form) for form in FORMS]
    out = decoded(files, [side, side])
    assert out.dtype == torch.uint8 and out.is_contiguous() and out.shape == (len(files), side, side, 3)
    for found, file in zip(out, files):
        assert torch.equal(found, as_torchvision(file, v2.Resize(side, antialias=True), v2.CenterCrop(side)))


@pytest.mark.parametrize("form", FORMS)
def test_other_shapes_keep_proportions_and_lie_in_the_middle(form):
    width, height = form
    file = jpeg(width, height)
    scale = max(20 / height, 30 / width)
    scaled = [max(20, int(height * scale + 1e-9)), max(30, int(width * scale + 1e-9))]
    cover = as_torchvision(file, v2.Resize(scaled, antialias=True), v2.CenterCrop([20, 30]))
    assert torch.equal(decoded([file], [20, 30])[0], cover)
    assert torch.equal(decoded([file], [20, 30], "fill")[0], as_torchvision(file, v2.Resize([20, 30], antialias=True)))
    scale = min(20 / height, 30 / width)
    rows, columns = max(1, int(height * scale + 1e-9)), max(1, int(width * scale + 1e-9))
    contained = decoded([file], [20, 30], "contain")[0]
    top, left = (20 - rows) // 2, (30 - columns) // 2
    inner = contained[top : top + rows, left : left + columns]
    assert torch.equal(inner, as_torchvision(file, v2.Resize([rows, columns], antialias=True)))
    assert contained.sum() == inner.sum()


def test_without_a_size_the_pixels_of_the_files():
    rgb, alpha = picture(9, 7), picture(9, 7, 4)
    palette = Image.fromarray(rgb).quantize(16)
    palette.info["transparency"] = bytes(range(16))
    files = [
        file_of(Image.fromarray(rgb), "PNG"),
        file_of(Image.fromarray(alpha), "PNG"),
        file_of(Image.fromarray(picture(9, 7, 1)), "PNG"),
        file_of(palette, "PNG", transparency=bytes(range(16))),
        file_of(Image.fromarray(rgb), "WEBP", lossless=True),
        file_of(Image.fromarray(rgb), "TIFF"),
        jpeg(9, 7),
        jpeg(9, 7, progressive=True),
        file_of(Image.fromarray(rgb).convert("CMYK"), "JPEG"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = decoded(files)
    assert torch.equal(out[0], torch.from_numpy(rgb)) and torch.equal(out[4], out[0]) and torch.equal(out[5], out[0])
    assert torch.equal(out[1], torch.from_numpy(alpha[:, :, :3].copy()))
    assert torch.equal(out[3], torch.from_numpy(np.array(palette.convert("RGB"))))
    for found, file in zip(out, files):
        assert torch.equal(found, as_torchvision(file))


def test_grey_of_16_bits_keeps_its_upper_8():
    values = np.array([[0, 256, 25700, 65535]], np.uint16)
    out = decoded([file_of(Image.fromarray(values), "PNG")])
    assert out.tolist() == [[[[0] * 3, [1] * 3, [100] * 3, [255] * 3]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_by_exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = jpeg(50, 37, exif=exif)
    assert torch.equal(decoded([file])[0], as_torchvision(file))
    expected = as_torchvision(file, v2.Resize(16, antialias=True), v2.CenterCrop(16))
    assert torch.equal(decoded([file, jpeg(9, 9)], [16, 16])[0], expected)


def claims(width: int, height: int) -> bytes:
    """A PNG that says that it has so many pixels, and has none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_they_are_decoded():
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadDataError, match=r"photos/1\.jpg: it has 256000000 pixels \(16000 × 16000\), more than"):
            decoded([jpeg(9, 7), claims(16_000, 16_000)], [8, 8])
        with pytest.raises(
            BadDataError, match="it has 63 pixels .*, more than 62; make it smaller, or raise maxPixels"
        ):
            decoded([jpeg(9, 7)], [8, 8], most=62)
        assert decoded([jpeg(9, 7)], [8, 8], most=63).shape == (1, 8, 8, 3)
        # Pillow's own limit does not hold where the caller allows more.
        with pytest.raises(BadDataError, match="photos/0.jpg: (?!it has)"):
            decoded([claims(16_000, 16_000)], [8, 8], most=2**28)
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_first_file_that_is_no_image_is_named():
    whole = jpeg(64, 64)
    png = file_of(Image.fromarray(picture(64, 64)), "PNG")
    broken = bytearray(png)
    broken[len(png) // 2] ^= 0xFF
    for bad in (whole[: len(whole) // 2], png[: len(png) // 2], bytes(broken), b"no image", b"", b"\xff\xd8\xff"):
        for size in (None, [16, 16]):
            with pytest.raises(BadDataError, match=r"^cannot read the image photos/1\.jpg: (?!.*BytesIO)."):
                decoded([whole, bad, bad, whole], size)
    with pytest.raises(
        BadDataError, match=r"photos/0\.jpg has 64 × 64 .*photos/1\.jpg has 7 × 9; give the option size"
    ):
        decoded([whole, jpeg(9, 7)])
    assert decoded([whole, png], [16, 16]).shape == (2, 16, 16, 3)


def test_only_known_kinds_are_read():
    for kind in ("BMP", "PPM", "ICO"):
        with pytest.raises(BadDataError, match="it is no image of a known kind"):
            decoded([file_of(Image.fromarray(picture(16, 16)), kind)])


def test_few_pixels_are_decoded_at_once(monkeypatch):
    files = [jpeg(50, 37) for _ in range(9)]
    whole = decoded(files, [8, 8])
    groups = []
    each = images._each
    monkeypatch.setattr(
        images, "_each", lambda work, items, names: groups.append(len(items)) or each(work, items, names)
    )
    monkeypatch.setattr(images, "_MOST_BYTES", 50 * 37 * 4 * 4)
    assert torch.equal(decoded(files, [8, 8]), whole)
    assert groups == [4, 4, 1]
    monkeypatch.setattr(images, "_MOST_BYTES", 1)
    assert torch.equal(decoded(files, [8, 8]), whole)


def test_in_inference_mode_it_gives_the_same():
    with torch.inference_mode():
        assert torch.equal(decoded([jpeg(50, 37)] * 3, [8, 8]), decoded([jpeg(50, 37)] * 3, [8, 8]))


@pytest.mark.parametrize(("width", "height"), [(1, 4000), (4000, 1)])
def test_one_that_would_grow_past_the_limit_is_refused_before_it_does(width, height):
    thin = file_of(Image.fromarray(picture(width, height)), "PNG")
    with pytest.raises(BadDataError, match=r"photos/1\.jpg: it is .* and has to become .* more than 1000000; cut it"):
        decoded([jpeg(30, 30), thin], [24, 24], most=1_000_000)
    assert decoded([thin], [24, 24], "contain", most=1_000_000).shape == (1, 24, 24, 3)


def test_files_that_are_not_there_are_no_rows_of_anything():
    file = jpeg(8, 8)
    flat = torch.frombuffer(bytearray(file), dtype=torch.uint8)
    with pytest.raises(ValueError):
        images.decode(flat, [len(file)], ["a", "b"], [8, 8], "cover", MOST)
    with pytest.raises(ValueError, match="files of"):
        images.decode(flat, [len(file), len(file)], ["a", "b"], [8, 8], "cover", MOST)
