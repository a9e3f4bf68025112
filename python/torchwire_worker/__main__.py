# Read by any Python that a user may point us at, so that one that is too old can say so: no syntax past Python 3.6 here.
import io
import json
import os
import select
import sys

OLDEST = (3, 10)
REPORT_FD = 3
# The order comes at once: it is in the pipe before we are.
PATIENCE_SECONDS = 20
# A worker of `serve`, which reports to nobody.
SERVED = ["--served"]


def check_launcher():
    """Whatever stands between the client and us, a script or another program, hands on standard input and descriptor 3, or this is told."""
    try:
        os.write(REPORT_FD, (json.dumps({"started": os.getpid()}) + "\n").encode())
    except OSError:
        sys.exit("torchwire-worker: its launcher does not pass descriptor 3 on, by which the worker reports.")
    if os.name == "nt":
        # Its pipes cannot be waited for.
        return
    why = None
    try:
        if not select.select([0], [], [], PATIENCE_SECONDS)[0]:
            why = "it is open, but nothing came in %g s" % PATIENCE_SECONDS
        elif not has_input():
            why = "it is at its end"
    except OSError:
        why = "it is closed"
    if why:
        fail(
            "torchwire-worker: its launcher does not pass standard input on, by which the worker is told what to do: %s."
            % why
        )


def has_input():
    import fcntl
    import termios

    try:
        return any(fcntl.ioctl(0, termios.FIONREAD, bytes(4)))
    except OSError:
        # It is no pipe, such as /dev/null.
        return False


def report(**what):
    os.write(REPORT_FD, (json.dumps(what) + "\n").encode())
    os.close(REPORT_FD)


def fail(message, command=None):
    if len(sys.argv) > 1:
        sys.exit("torchwire-worker: " + message)
    report(error={"code": "ENVIRONMENT", "message": message, "command": command})
    sys.exit(1)


def main():
    if len(sys.argv) == 1:
        check_launcher()
    if sys.version_info < OLDEST:
        version = ".".join(map(str, sys.version_info[:3]))
        fail(
            "%s is Python %s; torchwire needs %d.%d or newer" % ((sys.executable, version) + OLDEST),
            "npx torchwire setup",
        )
    # Run by its path, so Python put this very folder first: its modules would shadow others. The folder above holds the
    # package; the current folder comes last, for the user's own modules.
    here = os.path.dirname(os.path.abspath(__file__))
    # (With PYTHONSAFEPATH, or the options -P and -I of a launcher, it did not.)
    if os.path.realpath(sys.path[0]) == os.path.realpath(here):
        sys.path[0] = os.path.dirname(here)
    elif not any(os.path.realpath(path) == os.path.realpath(os.path.dirname(here)) for path in sys.path):
        sys.path.insert(0, os.path.dirname(here))
    sys.path.append(os.getcwd())
    from importlib.util import find_spec

    from torchwire_worker import ending

    ending.prepare()
    missing = [name for name in ("zmq", "msgspec", "torch") if find_spec(name) is None]
    if missing:
        fail("%s has no %s" % (sys.executable, " and no ".join(missing)), "npx torchwire setup")
    if len(sys.argv) > 1 and sys.argv[1:] != SERVED:
        from torchwire_worker.cli import main as command

        sys.exit(command())
    from torchwire_worker.worker import work

    if len(sys.argv) == 1:
        # The client reads it so, whatever the locale and PYTHONIOENCODING say.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")

    sys.exit(work(report))


if __name__ == "__main__":
    main()
