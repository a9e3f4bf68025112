"""Who may speak: whoever knows the token that the worker was given on its standard input."""

from __future__ import annotations

import hmac

from .ops import read_hello
from .wire import WireError


def check_hello(meta: memoryview, token: str) -> None:
    if not hmac.compare_digest(read_hello(meta).token.encode(), token.encode()):
        raise WireError("the token is wrong")
