"""Text from the file of a failed step, which may be a stranger's, never becomes a line of its script."""

from __future__ import annotations

import ast
import sys

from torchwire_worker.replay.expressions import attribute, comment, keywords


def test_no_character_ends_a_comment() -> None:
    for code in range(sys.maxunicode + 1):
        if not 0xD800 <= code < 0xE000:
            text = comment(f"a{chr(code)}raise SystemExit")
            assert all(line.startswith("#") for line in text.splitlines()), hex(code)
    assert ast.parse(comment("a\nb\r\nc\x0cd\u2028e")).body == []


def test_names_that_are_none_stay_text() -> None:
    assert attribute("v1", "weight") == "v1.weight"
    assert attribute("v1", "x; import os") == "getattr(v1, 'x; import os')"
    assert attribute("v1", "lambda") == "getattr(v1, 'lambda')"
    assert keywords({"lr": "0.1", "lr=1, x": "2"}) == ["lr=0.1", "**{'lr=1, x': 2}"]
