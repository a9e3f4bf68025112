"""Decides which client has the worker. Both threads ask it: a greeting may come by either socket first."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from . import ending, errors
from .ops import Hello
from .wire import WireError

_log = logging.getLogger("torchwire.session")

# The exit code of a worker whose client did not come back.
DROPPED = 75
# Seconds after which a client that has greeted by only one socket loses the worker again.
_PATIENCE = 30


class Shut(Exception):
    """The session is over, and the process is about to end: a client that comes now gets no answer, and must come
    again.
    """


class Refused(WireError):
    """The client is not let in. `code` is an ErrorCode of the client."""

    def __init__(self, code: str, message: str, holder: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.holder = holder


def refusal(error: WireError) -> dict[str, Any]:
    told: dict[str, Any] = {"message": errors.text(str(error), 4096)}
    if isinstance(error, Refused):
        told["code"] = error.code
        if error.holder is not None:
            told["holder"] = error.holder
    return told


class Door:
    """The door of one session. It belongs to the first client, or to the one with the given token; the token proves
    that it is the same client.
    """

    def __init__(self, token: str | None = None, name_of: Callable[[str], str | None] = lambda _: None) -> None:
        # Both sockets tell it: two addresses may lead to two workers.
        self.name = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._token = token
        self._serves = token is None
        self._name_of = name_of
        self._user = ""
        self._holder = ""
        # The client's user, host and process, as it says.
        self._client: Mapping[str, str] = {}
        # The time since which nothing reaches the client.
        self.away_since: float | None = None
        self._since = 0.0
        self._moment = 0.0
        self.is_settled = not self._serves
        self._refused: tuple[str, Refused] | None = None
        self._connections: dict[str, int] = {}
        # The session is over, and the process is about to end.
        self.is_shut = False
        # It is over because the client did not come back: nobody waits for the results.
        self.is_dropped = False

    def enter(self, hello: Hello, user: str, by: str, connection: int) -> None:
        """Let a client in, or raise.

        `user` is the public key of its connection, or empty. `by` names one of the two sockets. `connection` is the
        number of the connection, counted by the client.
        """
        if connection < 1:
            raise WireError("connections are counted from 1")
        with self._lock:
            if self.is_shut:
                raise Shut
            if self._serves:
                self._let_in(hello, user)
            elif not _same(hello.token, self._token or ""):
                raise WireError("the token is wrong")
            latest = self._connections.get(by, 0)
            if connection <= latest:
                raise Refused(
                    "PROTOCOL", f"connection {connection} of this session is not the latest, which is {latest}"
                )
            self._connections[by] = connection
            # A greeting by the data socket begins a session, which ends with the process.
            self.is_settled = self.is_settled or by == "data"

    def _let_in(self, hello: Hello, user: str) -> None:
        if not hello.token:
            raise WireError("a session has a token, and this greeting none")
        if self._refused is not None and _same(hello.token, self._refused[0]):
            why = self._refused[1]
            # Raise a new error: each raise of the same one adds to its traceback, and keeps what that refers to.
            raise Refused(why.code, str(why))
        now = time.monotonic()
        is_free = self._token is None or (not self.is_settled and now - self._moment > _PATIENCE)
        if is_free and hello.resumes:
            raise Refused(
                "WORKER_GONE", "the worker has no such session: its process has ended, or it has dropped this client"
            )
        if is_free:
            self._client = {key: value[:64] for key, value in hello.client.items() if value.isprintable()}
            self._token, self._user, self._holder = hello.token, user, self._describe(self._client, user)
            self.away_since = None
            self._since, self._moment, self._connections = time.time(), now, {}
        elif not _same(hello.token, self._token or "") or user != self._user:
            is_own = user == self._user
            # A client that is away may come back, unless its process has ended. Whoever says so has the same key, and
            # could take the session anyhow.
            if (
                is_own
                and self.away_since is not None
                and hello.replaces is not None
                and hello.replaces == self._client.get("pid")
            ):
                self.drop("the next client says that %s has ended: its session is dropped", self._holder)
                raise Shut
            since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._since))
            held = f"{self._holder} since {since} ({(now - self._moment) / 60:.0f} min)"
            if self.away_since is not None:
                held += f", and has been away for {now - self.away_since:.0f} s"
            raise Refused(
                "BUSY",
                f"the worker is held by {held}: it serves one client at a time. With serve --workers 2 there is "
                "another one, two ports on",
                self._client if is_own else None,
            )

    def drop(self, why: str, *told: object) -> None:
        """End the session. The process ends too, and frees its memory."""
        _log.warning(why, *told)
        self.is_shut = self.is_dropped = True
        ending.demand(_log.warning, DROPPED)

    def leave(self, why: Refused) -> None:
        """End a session that could not begin. The other socket must tell the same client why."""
        with self._lock:
            self._refused = (self._token or "", why)
            self._token, self.is_settled = None, False

    def forget(self) -> None:
        """Forget a client that greeted by the control socket alone, and is gone."""
        with self._lock:
            if not self.is_settled:
                self._token = None

    def is_revoked(self) -> bool:
        """Return whether the client's key was removed from those that may enter."""
        try:
            return self._user != "" and self._name_of(self._user) is None
        except OSError:
            # A file that cannot be read just now (for want of descriptors, say) was not removed.
            return False

    @property
    def holder(self) -> str:
        return self._holder if self._token is not None else ""

    def _describe(self, told: Mapping[str, str], user: str) -> str:
        try:
            name = self._name_of(user) if user else None
        except OSError:
            name = None
        who = f"{told.get('user') or 'somebody'}@{told.get('host', 'somewhere')} (process {told.get('pid', '?')})"
        return f"{name}, {who}" if name else who


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(), b.encode())
