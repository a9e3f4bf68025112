"""Decides which clients may enter: the server's own CURVE key and an allow-list of its clients' keys, as files in the
manner of ssh.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import logging
import os
import re
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from . import owners

SECRET = "server.key_secret"
CLIENTS = "authorized_clients"
_DOMAIN = "torchwire"
_KEY = re.compile(r"""^[ \t]*(public|secret)-key[ \t]*=[ \t'"]*([^\n]*?)[ \t'"\r]*$""", re.M)
_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")

# Errors that pass: nothing is wrong with the file.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)

logger = logging.getLogger("torchwire.keys")


class KeysError(Exception):
    """`command` mends it."""

    def __init__(self, message: str, command: str | None = None) -> None:
        super().__init__(message)
        self.command = command


class ServerKeys:
    def __init__(self, folder: str, public: str, secret: str) -> None:
        self._folder = folder
        self.public = public
        self.secret = secret
        self._warned: set[str] = set()

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.public)

    def clients(self) -> dict[str, str]:
        """Return the names and fingerprints of the clients, as of now."""
        return {name: fingerprint(public) for name, public in _clients(self._folder)}

    def name_of(self, public: str) -> str | None:
        """Return the name of the client with this key, or None: nobody with it may enter.

        The files are read anew, so that removing one revokes it. Raises OSError if no file that could be read has the
        key, and another could not be read for want of descriptors or the like.
        """
        unread: OSError | None = None
        found: dict[str, Any] = {}
        try:
            files = list(_files(self._folder, found))
        except owners.OthersCanWrite as error:
            self._warn(_who_writes(error))
            return None
        for name, path in files:
            # A file that is broken, or that others can write, lets nobody in. The other files still count.
            try:
                if _load(path, found)[0] == public:
                    return name
            except KeysError as error:
                if isinstance(error.__cause__, OSError):
                    unread = error.__cause__
                elif isinstance(error.__cause__, owners.OthersCanWrite):
                    self._warn(error)
        if unread is not None:
            raise unread
        return None

    def _warn(self, error: KeysError) -> None:
        """Warn once of each error: the list is read at every handshake."""
        if str(error) not in self._warned:
            self._warned.add(str(error))
            logger.warning("%s. That is why it lets nobody in. Run: %s", error, error.command)

    def guard(self, context: zmq.Context[Any]) -> ThreadAuthenticator:
        """Let in only clients on the list.

        Start this before anything is bound, and stop it after everything is closed: without it libzmq lets everybody
        in.
        """
        authenticator = ThreadAuthenticator(context, log=_silent)
        authenticator.configure_curve_callback(_DOMAIN, _AllowList(self))
        authenticator.start()
        return authenticator

    def configure(self, socket: zmq.Socket[Any]) -> None:
        """Give `socket` the server's key. Call this before it is bound."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret.encode())
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN.encode())
        # Without an authenticator, nobody may enter. (Not every build of libzmq has this option.)
        if hasattr(zmq, "ZAP_ENFORCE_DOMAIN"):
            try:
                socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
            except zmq.ZMQError as error:
                if error.errno != zmq.EINVAL:
                    raise


class _AllowList:
    """The authenticator asks this object, on its own thread, at each handshake."""

    def __init__(self, keys: ServerKeys) -> None:
        self._keys = keys
        self._said = float("-inf")

    def callback(self, domain: str, key: bytes) -> bool:
        try:
            try:
                name = self._keys.name_of(key.decode())
            except OSError:
                name = None
            # Log at most once a second: strangers decide how often this happens.
            if name is None and time.monotonic() - self._said > 1:
                self._said = time.monotonic()
                logger.warning("refused: the key %s is not in %s", fingerprint(key.decode()), CLIENTS)
            return name is not None
        except Exception:
            # An exception would end the thread, and with it every later handshake.
            logger.exception("the allow-list cannot be read")
            return False


# This logger reports each handshake.
_silent = logging.getLogger("torchwire.keys.zap")
_silent.setLevel(logging.CRITICAL)


def fingerprint(public: str) -> str:
    digest = hashlib.sha256(z85.decode(public.encode())).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def load(folder: str) -> ServerKeys:
    """Load the keys, or raise an error that says what to do."""
    path = os.path.join(folder, SECRET)
    try:
        files = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise KeysError(f"there is no folder {folder} with keys", _how(folder)) from None
    except OSError as error:
        raise KeysError(f"{folder} cannot be looked into by {_this_user()}: {error.strerror}") from None
    _check(folder)
    if SECRET not in files:
        raise KeysError(f"{folder} has no {SECRET}, the server's own key", _how(folder))
    public, secret = _load_secret(path)
    if secret is None or zmq.curve_public(secret.encode()).decode() != public:
        raise KeysError(
            f"{path} does not hold a pair of keys. New ones lock out every client that there is:",
            _how(folder, " --force"),
        )
    if not list(_clients(folder)):
        raise KeysError(f"{os.path.join(folder, CLIENTS)} is empty: nobody may enter", _how(folder))
    return ServerKeys(folder, public, secret)


class _Client(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    public: str


class _Server(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    public: str
    secret: str | None = None


class _Half(msgspec.Struct, forbid_unknown_fields=True, tag_field="torchwire", tag="authorize"):
    client: _Client
    server: _Server


def authorize(folder: str, lines: Iterable[str], force: bool = False) -> None:
    """Read the line of `npx torchwire keygen`, let that client in, and print both fingerprints.

    The first keys of a server come the same way.
    """
    half = _read_half(lines)
    client, server = half.client, half.server
    client_path = os.path.join(folder, CLIENTS, client.name + ".key")
    server_path = os.path.join(folder, SECRET)
    again = f"torchwire-worker authorize --keys {folder} --force"
    # Check everything before a file is written.
    there = None
    if os.path.exists(server_path):
        there, _ = _load_secret(server_path)
    write_server = there != server.public
    if write_server and server.secret is None:
        has = "no key yet" if there is None else f"the key {fingerprint(there)}"
        how = "" if there is None else f" --server-key='{there}'"
        raise KeysError(
            f"the client knows a server with the key {fingerprint(server.public)}, and {folder} has {has}",
            f"npx torchwire keygen NAME{how} --force",
        )
    if there is not None and write_server and not force:
        raise KeysError(
            f"{server_path} is there, with another key: {fingerprint(there)}. A client for it is made, on the client's "
            "machine, with\n"
            f"  npx torchwire keygen NAME --server-key='{there}' --force\n"
            f"To replace the server's key by {fingerprint(server.public)}, which locks out every client that there is, "
            "pipe the same into",
            again,
        )
    if os.path.exists(client_path) and not force:
        known, _ = _load(client_path)
        if known != client.public:
            raise KeysError(
                f"{client_path} is there, with another key: {fingerprint(known)}. For a second client, choose a name "
                "on its machine (npx torchwire "
                f"keygen NAME --as CLIENT); to replace the key by {fingerprint(client.public)}, pipe the same into",
                again,
            )
    try:
        for each in (folder, os.path.dirname(client_path)):
            owners.make(each, 0o700)
            _check(each)
        # Write the client last: its file opens the door.
        if write_server:
            _write(
                server_path,
                f'metadata\ncurve\n    public-key = "{server.public}"\n    secret-key = "{server.secret}"\n',
            )
        _write(client_path, f'metadata\n    name = "{client.name}"\ncurve\n    public-key = "{client.public}"\n')
    except OSError as error:
        raise KeysError(f"{error.filename or folder} cannot be written by {_this_user()}: {error.strerror}") from None
    print(f"server  {fingerprint(server.public)}{' (new)' if write_server else ''}")
    print(f"client  {fingerprint(client.public)} ({client.name}) may enter, until {client_path} is removed")
    print(f"Further clients, each on its own machine: npx torchwire keygen NAME --server-key='{server.public}'")


def _read_half(lines: Iterable[str]) -> _Half:
    text = "".join(lines).strip()
    try:
        half = msgspec.json.decode(text, type=_Half)
        pairs = [half.client.public, half.server.public] + (
            [half.server.secret] if half.server.secret is not None else []
        )
        if not all(_is_key(key) for key in pairs):
            raise ValueError("a malformed key")
        if _CLIENT.fullmatch(half.client.name) is None:
            raise ValueError("the client's name")
        if (
            half.server.secret is not None
            and zmq.curve_public(half.server.secret.encode()).decode() != half.server.public
        ):
            raise ValueError("the server's keys are not a pair")
    except ValueError as error:
        # Do not show the input: it may hold a secret.
        what = str(error) if text else "nothing came"
        raise KeysError(
            f"standard input is not the line that keygen prints ({what}); on the client's machine it is made by",
            "npx torchwire keygen NAME",
        ) from None
    return half


def _is_key(key: str) -> bool:
    try:
        return len(z85.decode(key.encode())) == 32
    # In order: an unknown digit, a wrong length, five digits that say more than four bytes hold.
    except (KeyError, ValueError, struct.error):
        return False


def _write(path: str, text: str) -> None:
    """Write the file whole or not at all, readable by this user alone from the first byte on."""
    draft = f"{path}.{os.getpid()}"
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _files(folder: str, found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names and paths. Raises OthersCanWrite if others can write the list itself."""
    clients = os.path.join(folder, CLIENTS)
    try:
        owners.check(folder, found)
        owners.check(clients, found)
        names = sorted(os.listdir(clients))
    except OSError as error:
        if error.errno in _PASSING:
            raise
        return
    for file in names:
        name, extension = os.path.splitext(file)
        if extension == ".key" and _CLIENT.fullmatch(name) is not None:
            yield name, os.path.join(clients, file)


def _clients(folder: str) -> Iterator[tuple[str, str]]:
    found: dict[str, Any] = {}
    try:
        for name, path in _files(folder, found):
            yield name, _load(path, found)[0]
    except owners.OthersCanWrite as error:
        raise _who_writes(error) from error


def _load(path: str, found: dict[str, Any] | None = None) -> tuple[str, str | None]:
    """Return the public key and, if the file has one, the secret key.

    The cause of a KeysError is OthersCanWrite, or an error that passes.
    """
    try:
        text = owners.read(path, found)
    except owners.OthersCanWrite as error:
        raise _who_writes(error) from error
    except OSError as error:
        raise KeysError(f"{path} cannot be read as a key by {_this_user()}: {error.strerror}") from (
            error if error.errno in _PASSING else None
        )
    # As in ZeroMQ's certificates, the first line of each kind counts.
    keys = dict(reversed(_KEY.findall(text)))
    public, secret = keys.get("public"), keys.get("secret")
    if public is None:
        raise KeysError(f"{path} cannot be read as a key: it has no public-key")
    if not all(_is_key(key) for key in (public, secret) if key is not None):
        raise KeysError(f"{path} has a key that is not one of 40 characters")
    return public, secret


def _load_secret(path: str) -> tuple[str, str | None]:
    """Do as `_load`, for a file that nobody else may read either."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise KeysError(f"{path} cannot be read by {_this_user()}: {error.strerror}") from None
    if hasattr(os, "getuid"):
        mode = found.st_mode & 0o777
        # A secret that Kubernetes mounts belongs to root, and this process's group may read it.
        most = 0o440 if found.st_uid == 0 != os.getuid() else 0o600
        if mode & ~(most | 0o700):
            raise KeysError(
                f"others can get at the secret key in {path} (mode {mode:04o}). If somebody may have read it, make new "
                "keys instead.",
                f"chmod {most:o} {path}",
            )
    return _load(path)


def _this_user() -> str:
    return f"uid {os.getuid()}" if hasattr(os, "getuid") else "this user"


def _how(folder: str, more: str = "") -> str:
    return f"npx torchwire keygen NAME | ssh HOST torchwire-worker authorize --keys {folder}{more}"


def _check(folder: str) -> None:
    """Raise if others can write into `folder`: they could let anybody in."""
    try:
        owners.check(folder)
    except owners.OthersCanWrite as error:
        raise _who_writes(error) from error
    except OSError as error:
        raise KeysError(f"{folder} cannot be looked into by {_this_user()}: {error.strerror}") from None


def _who_writes(error: owners.OthersCanWrite) -> KeysError:
    return KeysError(f"{error}, and so let anybody in", error.command)
