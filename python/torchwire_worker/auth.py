"""Who may speak: whoever knows the token that the worker was given on its standard input."""

from __future__ import annotations

import hmac

import msgspec

from .ops import decode_hello
from .wire import WireError


def check_hello(meta: memoryview, token: str) -> None:
    try:
        hello = decode_hello(meta)
    except msgspec.MsgspecError as error:
        raise WireError(f"a greeting that is not one: {error}") from None
    if not hmac.compare_digest(hello.token.encode(), token.encode()):
        raise WireError("the token is wrong")
