"""Writes rows/, tables that the data sets of torchwire/data are tested with, and rows/rows.json, what pyarrow, pandas and
Python's csv read in them: `python test/golden/rows.py`.

It needs pyarrow 26, pandas 3 and datasets 5, which the tests do not: the files are kept.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import random
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parent / "rows"


def main() -> None:
    ROOT.mkdir(exist_ok=True)
    datasets.disable_progress_bars()
    found = {"types": types(), "codecs": codecs(), "pages": pages(), "digits": digits(), "csv": quoting(), "inferred": inferred()}
    lines = ",\n".join(f'"{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in found.items())
    (ROOT / "rows.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")


def plain(value: object) -> object:
    """As JSON. What it cannot hold is an object with one key: $int, $float, $bytes (hex), $date (milliseconds)."""
    match value:
        case bool() | None | str():
            return value
        case int():
            return value if abs(value) < 2**53 else {"$int": str(value)}
        case float():
            return value if math.isfinite(value) else {"$float": str(value)}
        case bytes():
            return {"$bytes": value.hex()}
        case datetime.datetime():
            return {"$date": round(value.replace(tzinfo=datetime.UTC).timestamp() * 1000)}
        case datetime.date():
            return {"$date": round(datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC).timestamp() * 1000)}
        case dict():
            return {name: plain(part) for name, part in value.items()}
        case list() | tuple():
            return [plain(part) for part in value]
    return plain(float(value))  # decimals, halves


def types() -> object:
    """Every type of columns, with a null in each, in two row groups."""
    date, time = datetime.date, datetime.datetime
    columns = {
        "i8": pa.array([1, None, -128], pa.int8()),
        "i64": pa.array([1, None, -(2**53) + 1], pa.int64()),
        "id": pa.array([1, None, 2**53 + 1], pa.int64()),
        "u32": pa.array([1, None, 2**32 - 1], pa.uint32()),
        "u64": pa.array([1, None, 2**64 - 1], pa.uint64()),
        "f16": pa.array(np.array([1.5, 0, 65504], np.float16), mask=np.array([False, True, False])),
        "f32": pa.array([0.1, None, float("inf")], pa.float32()),
        "f64": pa.array([0.1, None, float("nan")], pa.float64()),
        "text": pa.array(["a", None, "é\n"]),
        "bytes": pa.array([b"\x00\xff", None, b""]),
        "truth": pa.array([True, None, False]),
        "list": pa.array([[1, 2], None, []], pa.list_(pa.int64())),
        "nested": pa.array([[[1.0, 2.0], [3.0]], None, [[]]], pa.list_(pa.list_(pa.float32()))),
        "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        "time": pa.array([time(2020, 1, 2, 3, 4, 5, 6000), None, time(1969, 12, 31, 23)], pa.timestamp("us")),
        "day": pa.array([date(2020, 2, 29), None, date(1960, 1, 1)]),
        "class": pa.array(["cat", None, "dog"]).dictionary_encode(),
        "price": pa.array([None, None, None], pa.decimal128(5, 2)),
    }
    table = pa.table(columns)
    pq.write_table(table, ROOT / "types.parquet", row_group_size=2)
    return plain(table.to_pylist())


def codecs() -> object:
    table = pa.table({"i": pa.array(range(40)), "s": [f"row {i}" for i in range(40)]})
    for codec in ["none", "gzip", "brotli", "zstd", "lz4"]:
        pq.write_table(table, ROOT / f"{codec}.parquet", compression=codec, store_schema=False)
    return plain(table.to_pylist())


def pages() -> object:
    """Several row groups of several pages; int64 without statistics."""
    i = np.arange(1000)
    table = pa.table({"i": i, "third": np.where(i % 3 == 0, None, i / 2), "big": np.where(i == 700, 2**53 + 1, i)})
    options = {"data_page_size": 256, "row_group_size": 300, "write_statistics": False, "use_dictionary": False}
    pq.write_table(table.select(["i", "third"]), ROOT / "pages.parquet", store_schema=False, compression="zstd", **options)
    pq.write_table(table.slice(690, 20).select(["big"]), ROOT / "big.parquet", store_schema=False, **options)
    return {"rows": 1000, "sum": int(i.sum()), "thirds": float(table["third"].to_pandas().sum())}


def digits() -> object:
    """As the hub has a data set of images: shards, features, a README. Image k has the pixels k, k + 1, …"""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["even", "odd"])})
    parts = {}
    (ROOT / "digits" / "data").mkdir(parents=True, exist_ok=True)
    for split, numbers in {"train": range(6), "test": range(6, 8)}.items():
        pictures = [np.arange(k, k + 48, dtype=np.uint8).reshape(4, 4, 3) for k in numbers]
        rows = datasets.Dataset.from_dict({"image": pictures, "label": [k % 2 for k in numbers]}, features=features)
        shards = 2 if split == "train" else 1
        for shard in range(shards):
            name = f"{split}-{shard:05}-of-{shards:05}.parquet"
            rows.shard(shards, shard, contiguous=True).to_parquet(ROOT / "digits" / "data" / name)
        parts[split] = [[int(picture[0, 0, 0]), int(picture.sum()), k % 2] for k, picture in zip(numbers, pictures, strict=True)]
    (ROOT / "digits" / "README.md").write_text("---\nlicense: cc0-1.0\n---\nDigits for tests, made by rows.py.\n")
    return parts


def quoting() -> object:
    """Random cells, as Python's csv writes them, and as it reads them."""
    rng = random.Random(0)
    signs = ['"', ",", "\n", "\r\n", "\r", " ", "a", "é", "1", ";", "\t", "\U0001f600", "'"]
    tables = []
    for number in range(24):
        end, quote = ["\n", "\r\n", "\r"][number % 3], [csv.QUOTE_MINIMAL, csv.QUOTE_ALL][number % 2]
        columns = 1 + number % 4
        # (It writes ends of lines of other kinds than its own without quotes, unless all is quoted.)
        some = [sign for sign in signs if sign.strip("\r\n") or sign == end or quote == csv.QUOTE_ALL]
        rows = [["".join(rng.choices(some, k=rng.randrange(7))) for _ in range(columns)] for _ in range(5)]
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator=end, quoting=quote)
        writer.writerow([f"c{i}" for i in range(columns)])
        writer.writerows(rows)
        # Without the end of its last line, every second time.
        content = text.getvalue() if number % 2 else text.getvalue().removesuffix(end)
        read = list(csv.reader(io.StringIO(content, newline=""), strict=True))
        assert read[1:] == rows, content
        tables.append({"text": content, "rows": rows})
    return tables


def inferred() -> object:
    """Columns, and the values that pandas gives them; None where a value is missing."""
    columns = {
        "whole": ["1", "-2", "+3", "0"],
        "gaps": ["1", "", "NA", "4"],
        "float": ["1.5", "-.5", "2.", "1e3"],
        "infinite": ["inf", "-inf", "Infinity", "1"],
        "spaced": [" 1", "2 ", "3", "4"],
        "truth": ["True", "false", "TRUE", "true"],
        "text": ["a", "1", "true", "2020-01-02"],
        "texts": ["a", "", "null", "None"],
        "mixed": ["1", "x", "NaN", "2"],
        "empty": ["", "NA", "", "n/a"],
        "hex": ["0x10", "1", "2", "3"],
        "quoted": ['"1"', '"2"', '"NA"', '""'],
        "id": ["9007199254740993", "1", "2", "-9007199254740993"],
        "rounded": ["9007199254740993", "1.5", "2", "3"],
    }
    found = {}
    for name, cells in columns.items():
        text = f"k,{name}\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))
        read = pd.read_csv(io.StringIO(text))[name]
        values = [None if pd.isna(value) else value for value in read]
        found[name] = {"text": text, "values": plain([value.item() if isinstance(value, np.generic) else value for value in values])}
    return found


if __name__ == "__main__":
    main()
