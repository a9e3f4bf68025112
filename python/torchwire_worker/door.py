"""Who has the worker. Asked by both threads: a greeting may come by either socket first."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable

from .ops import Hello
from .wire import WireError

# Who has greeted by one socket alone has it no longer than this.
_PATIENCE = 10


class Refused(WireError):
    """Not let in. `code` is an ErrorCode of the client's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def refusal(error: WireError) -> dict[str, str]:
    told = {"message": str(error)}
    return {**told, "code": error.code} if isinstance(error, Refused) else told


class Door:
    """One session: the first that comes, or the one whose token was given. Whoever knows its token is the same client."""

    def __init__(self, token: str | None = None, name_of: Callable[[str], str | None] = lambda _: None) -> None:
        self._lock = threading.Lock()
        self._token = token
        self._name_of = name_of
        self._user = ""
        self._holder = ""
        self._since = 0.0
        self._moment = 0.0
        self._is_settled = token is not None
        self._serves = token is None

    def enter(self, hello: Hello, user: str) -> None:
        """`user` is the public key that the connection was made with, or empty."""
        with self._lock:
            if not self._serves:
                if not _same(hello.token, self._token or ""):
                    raise WireError("the token is wrong")
                return
            if self._token is not None and not self._is_settled and time.monotonic() - self._moment > _PATIENCE:
                self._token = None
            if self._token is None:
                if hello.resumes:
                    raise Refused("WORKER_GONE", "the worker has no such session: its process has ended, or it has dropped this client")
                self._token, self._user, self._holder = hello.token, user, self._describe(hello, user)
                self._since, self._moment = time.time(), time.monotonic()
            elif not _same(hello.token, self._token) or user != self._user:
                minutes = (time.monotonic() - self._moment) / 60
                since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._since))
                raise Refused("BUSY", f"the worker is held by {self._holder} since {since} ({minutes:.0f} min): it serves one client at a time")

    def settle(self) -> None:
        """The session is on: it ends with the process."""
        self._is_settled = True

    def leave(self) -> None:
        with self._lock:
            self._token = None

    @property
    def user(self) -> str:
        return self._user

    @property
    def holder(self) -> str:
        return self._holder if self._token is not None else ""

    def _describe(self, hello: Hello, user: str) -> str:
        told = {key: value[:64] for key, value in hello.client.items() if value.isprintable()}
        name = self._name_of(user) if user else None
        who = f"{told.get('user') or 'somebody'}@{told.get('host', 'somewhere')} (process {told.get('pid', '?')})"
        return f"{name}, {who}" if name else who


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(), b.encode())
