"""Text from outside in messages: names in files, keys, what a library says of a file that lies. It may come to stand on a terminal."""

from __future__ import annotations

_LONGEST = 200


def one_line(value: object, most: int = _LONGEST) -> str:
    """The value's text on one line: what cannot be printed as its escape, and at most `most` characters of it."""
    text = value if isinstance(value, str) else str(value)
    start = text[:most]
    line = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in start)
    return line if len(start) == len(text) else f"{line}… ({len(text)} characters)"
