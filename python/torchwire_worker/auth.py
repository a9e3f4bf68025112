"""Who may speak: whoever knows the token that the worker was given on its standard input."""

from __future__ import annotations

import hmac

from .ops import Hello, read_hello
from .wire import WireError


def check_hello(meta: memoryview, token: str) -> Hello:
    hello = read_hello(meta)
    if not hmac.compare_digest(hello.token.encode(), token.encode()):
        raise WireError("the token is wrong")
    return hello
