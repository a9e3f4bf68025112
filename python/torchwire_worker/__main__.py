# Read by any Python that a user may point us at, so that one that is too old can say so: no syntax past Python 3.6 here.
import json
import os
import sys

OLDEST = (3, 10)
REPORT_FD = 3


def report(**what):
    os.write(REPORT_FD, (json.dumps(what) + "\n").encode())
    os.close(REPORT_FD)


def fail(message, command=None):
    if len(sys.argv) > 1:
        sys.exit("torchwire-worker: " + message)
    report(error={"code": "ENVIRONMENT", "message": message, "command": command})
    sys.exit(1)


def main():
    if sys.version_info < OLDEST:
        version = ".".join(map(str, sys.version_info[:3]))
        fail("%s is Python %s; torchwire needs %d.%d or newer" % ((sys.executable, version) + OLDEST), "npx torchwire setup")
    # Run by its path, so Python put this very folder first: its modules would shadow others. The folder above holds the
    # package; the current folder comes last, for the user's own modules.
    here = os.path.dirname(os.path.abspath(__file__))
    if os.path.realpath(sys.path[0]) == os.path.realpath(here):
        sys.path[0] = os.path.dirname(here)
    sys.path.append(os.getcwd())
    from importlib.util import find_spec

    missing = [name for name in ("zmq", "msgspec", "torch") if find_spec(name) is None]
    if missing:
        fail("%s has no %s" % (sys.executable, " and no ".join(missing)), "npx torchwire setup")
    if len(sys.argv) > 1:
        from torchwire_worker.cli import main as command

        sys.exit(command())
    from torchwire_worker.worker import work

    work(report)


if __name__ == "__main__":
    main()
