"""Makes text from outside fit for a message: names in files, keys, what a library says of a malicious file. A terminal
may show it.
"""

from __future__ import annotations

_LONGEST = 200


def one_line(value: object, most: int = _LONGEST) -> str:
    """Return the text of `value` on one line: at most `most` characters, the unprintable ones as escapes."""
    text = value if isinstance(value, str) else str(value)
    start = text[:most]
    line = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in start)
    return line if len(start) == len(text) else f"{line}… ({len(text)} characters)"
