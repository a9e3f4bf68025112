"""Writes wire-v1.json, the golden vectors of the wire: `python test/golden/make.py > test/golden/wire-v1.json`.

The bytes are made by neither side. The encoder in spec.py was written from the msgpack specification and the table in
bridge/wire/header.ts, and imports nothing of torchwire; TypeScript (test/pure/wire/wire.test.ts) and Python
(python/tests/test_wire.py) are both held against it. A change here is a change of the protocol.
"""

from __future__ import annotations

import json
import sys

from messages import headers, messages
from refused import refused_batches, refused_messages, refused_values
from values import arguments, replies

ABOUT = """Golden vectors of wire version 1, made by make.py. Bytes are hexadecimal. A value that JSON cannot hold is an
object with one key: $float (text, also nan, inf, -inf, -0.0), $int (text, past 2^53), $bytes (hex), $tuple, $set, $range,
$dict ([[key, value], …]), $slice, $tensor ({dtype, shape, hex}), $ref (id); of JavaScript only: $undefined, $pyFloat,
$view ([class, hex]). Whole JSON numbers are ints. arguments: what TypeScript makes of the value `js` (the msgpack of one
token, and its frames), and what Python reads there. replies: what Python makes of `python`, asked for in `mode`, and what
TypeScript reads there. messages: whole ones; those of the client are written by TypeScript and read by Python, those of the
worker the other way round. refused*: what the sides named in `by` must refuse, saying `says`."""


def main() -> None:
    tables = {
        "headers": headers(),
        "messages": messages(),
        "arguments": arguments(),
        "replies": replies(),
        "refusedMessages": refused_messages(),
        "refusedBatches": refused_batches(),
        "refusedValues": refused_values(),
    }
    lines = ["{", f'"about": {json.dumps(" ".join(ABOUT.split()), ensure_ascii=False)},']
    for name, vectors in tables.items():
        rows = ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors)
        lines.append(f'"{name}": [\n{rows}\n]' + ("" if name == "refusedValues" else ","))
    sys.stdout.buffer.write(("\n".join([*lines, "}"]) + "\n").encode())


if __name__ == "__main__":
    main()
