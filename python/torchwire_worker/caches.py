"""The command `cache`: what is kept on this machine's disk of samples that programs have sent."""

from __future__ import annotations

import argparse
import time
from typing import Any

from .helpers import kept_cache


def add_to(commands: Any) -> None:
    command = commands.add_parser("cache", help="list or remove the samples that are kept on this disk")
    command.set_defaults(run=_run)
    command.add_argument("action", choices=["list", "remove"], nargs="?", default="list")
    command.add_argument("name", nargs="?", help="the cache to remove")


def _run(options: argparse.Namespace) -> int:
    if (options.action == "remove") == (options.name is None):
        print("torchwire-worker: it is `cache list` or `cache remove NAME`")
        return 2
    try:
        print(removed(options.name) if options.action == "remove" else listing())
    except (kept_cache.BadName, OSError) as error:
        print(f"torchwire-worker: {error}")
        return 1
    return 0


def listing() -> str:
    """Return a line for each cache."""
    found = kept_cache.listed()
    if not found:
        return f"no samples are kept in {kept_cache.root()}"
    lines = [f"{one['name']:24} {_size(one['bytes']):>10}   used {_time(one['used'])}" for one in found]
    return "\n".join([*lines, f"in {kept_cache.root()}"])


def removed(name: str) -> str:
    """Remove a cache, and say so."""
    return f"removed {name}: {_size(kept_cache.remove(name))}"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e8 else f"{size / 1e9:.1f} GB"
