"""The command `torchwire-worker`, for the machine on which the worker runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import msgspec

from . import __version__, caches, keys, logs
from .replay import command as replaying
from .serve import LIMITS, Options, Refusal, check_health, serve
from .wire import Limits

_STATUS = os.path.join(
    os.environ.get("XDG_RUNTIME_DIR") or "/tmp", f"torchwire-worker-{os.getuid() if hasattr(os, 'getuid') else 0}.json"
)


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        return options.run(options)
    except (Refusal, keys.KeysError) as error:
        command = getattr(error, "command", None)
        print(f"torchwire-worker: {error}" + (f"\nRun: {command}" if command else ""), file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("torchwire-worker", description="Hosts PyTorch for a torchwire client elsewhere.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "serve", help="wait for clients", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    command.set_defaults(run=_serve)
    command.add_argument(
        "--bind",
        default="tcp://127.0.0.1:5555",
        metavar="tcp://HOST:PORT",
        help="data on this port, control on the next",
    )
    command.add_argument(
        "--keys",
        metavar="DIR",
        help="the server's key and those of the clients that may enter; needed unless bound to loopback",
    )
    command.add_argument("--device", default="auto", help="for clients that ask for none: auto, cpu, cuda or cuda:N")
    command.add_argument(
        "--workers",
        type=_count,
        default=1,
        metavar="N",
        help="so many side by side, each for one client, on ports two apart",
    )
    command.add_argument(
        "--grace", type=float, default=60, metavar="SECONDS", help="a client that is away for longer is dropped"
    )
    command.add_argument(
        "--drain", type=float, default=50, metavar="SECONDS", help="after SIGTERM, what was accepted has so long to end"
    )
    command.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=N",
        help="what a message may be, as in frameBytes=16777216",
    )
    command.add_argument("--status", default=_STATUS, metavar="FILE", help="written every second, for healthcheck")
    _logging(command)

    command = commands.add_parser(
        "authorize", help="take in what `npx torchwire keygen NAME` prints, from standard input"
    )
    command.set_defaults(run=_authorize)
    command.add_argument("--keys", required=True, metavar="DIR")
    command.add_argument(
        "--force", action="store_true", help="replace the server's key, and with it shut out the clients that know it"
    )

    command = commands.add_parser("clients", help="who may enter, with fingerprints")
    command.set_defaults(run=_clients)
    command.add_argument("--keys", required=True, metavar="DIR")

    command = commands.add_parser(
        "healthcheck", help="exit code 0 where serve and its workers run, however busy they are"
    )
    command.set_defaults(run=_healthcheck)
    command.add_argument("--status", default=_STATUS, metavar="FILE")

    replaying.add_to(commands)
    caches.add_to(commands)
    return parser


def _logging(command: argparse.ArgumentParser) -> None:
    command.add_argument("--log-level", choices=logs.LEVELS, default="info")
    command.add_argument("--log-format", choices=logs.FORMATS, default="text")


def _serve(options: argparse.Namespace) -> int:
    logs.start(options.log_level, options.log_format)
    host, port = _address(options.bind)
    if options.grace < 1 or options.drain < 0:
        raise Refusal("--grace is at least 1 second, --drain at least 0")
    limits = _limits(options.limit)
    log = (options.log_level, options.log_format)
    return serve(
        Options(
            host,
            port,
            options.keys,
            options.device,
            options.workers,
            options.grace,
            options.drain,
            limits,
            options.status,
            log,
        )
    )


def _authorize(options: argparse.Namespace) -> int:
    keys.authorize(options.keys, sys.stdin, force=options.force)
    return 0


def _clients(options: argparse.Namespace) -> int:
    server = keys.load(options.keys)
    # `npx torchwire keygen --server-key=…` takes this key.
    print(f"this server: {server.fingerprint}, public key {server.public}")
    for name, fingerprint in sorted(server.clients().items()):
        print(f"{name}: {fingerprint}")
    return 0


def _healthcheck(options: argparse.Namespace) -> int:
    wrong = check_health(options.status)
    print(wrong or "healthy")
    return 0 if wrong is None else 1


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 64:
        raise argparse.ArgumentTypeError("from 1 to 64")
    return count


def _address(bind: str) -> tuple[str, int]:
    scheme, _, rest = bind.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme != "tcp" or not host or host == "*" or not port.isdigit() or not 0 < int(port) < 65_535:
        raise Refusal(
            f"--bind is {bind!r}; it is an address of this machine, as in tcp://127.0.0.1:5555 (tcp://0.0.0.0:5555 is "
            "all of them)"
        )
    return host.strip("[]"), int(port)


def _limits(told: list[str]) -> Limits:
    names = {field.encode_name: field.name for field in msgspec.structs.fields(type(LIMITS))}
    changes = {}
    for each in told:
        name, _, number = each.partition("=")
        if name not in names or not number.isdigit() or int(number) < 1:
            raise Refusal(f"--limit {each}: it is NAME=N, with one of {', '.join(names)}")
        changes[names[name]] = int(number)
    return msgspec.structs.replace(LIMITS, **changes)
