# Users may point the client at any Python, and one that is too old must be able to say so: no syntax past Python 3.6
# here.
import io
import json
import os
import select
import sys

OLDEST = (3, 10)
REPORT_FD = 3
# The client writes its order before the process starts, so a short wait is enough.
PATIENCE_SECONDS = 20
# The arguments of a worker that `serve` starts. It has no descriptor 3 to report to.
SERVED = ["--served"]


def check_launcher():
    """Check that a launcher (a script, another program) passes on standard input and descriptor 3; say so if it does
    not.
    """
    try:
        os.write(REPORT_FD, (json.dumps({"started": os.getpid()}) + "\n").encode())
    except OSError:
        sys.exit("torchwire-worker: its launcher does not pass descriptor 3 on, by which the worker reports.")
    if os.name == "nt":
        # `select` takes no pipes on Windows.
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
            "torchwire-worker: its launcher does not pass standard input on, by which the worker is told what to do: "
            "%s." % why
        )


def has_input():
    import fcntl
    import termios

    try:
        return any(fcntl.ioctl(0, termios.FIONREAD, bytes(4)))
    except OSError:
        # Standard input is not a pipe; it may be /dev/null.
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
    # Python was started with this file's path, so it put this very folder first, where our modules would shadow others.
    # The folder above holds the package. The current folder comes last, for the user's own modules.
    here = os.path.dirname(os.path.abspath(__file__))
    # (With PYTHONSAFEPATH, or with the options -P and -I of a launcher, Python did not put this folder there.)
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
        # The client reads UTF-8, whatever the locale and PYTHONIOENCODING say.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")

    sys.exit(work(report))


if __name__ == "__main__":
    main()
