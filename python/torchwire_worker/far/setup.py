"""Makes an environment for the worker, as `npx torchwire setup` does on the client's machine: in the same place, under the same name and lock."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import uuid
from typing import Any, Dict, List, Optional

from torchwire_worker.far.find import check_owners, directory, folders, is_finished, key, managed, marker, python_of
from torchwire_worker.far.lock import locked
from torchwire_worker.far.main import Failure, say
from torchwire_worker.far.variables import installer_variables, pip_variables

_COMMAND = "npx torchwire setup"
_OLDEST, _NEWEST = (3, 10), (3, 13)
_QUIET = ["--no-input", "--disable-pip-version-check"]
_ABOUT = """
import importlib.util, json, sys, sysconfig
missing = [name for name in ("ensurepip", "virtualenv", "uv") if importlib.util.find_spec(name) is None]
version = "%d.%d.%d" % sys.version_info[:3]
print(json.dumps({"executable": sys.executable, "version": version, "platform": sysconfig.get_platform(), "missing": missing}))
"""


def setup(order):
    # type: (Dict[str, Any]) -> Dict[str, Any]
    threading.Thread(target=_end_with_client, daemon=True).start()
    # What is made is written by nobody else, whatever the login's umask is.
    os.umask(os.umask(0o022) | 0o022)
    asked = order["setup"]
    base = _base(order["python"])
    named = base if order["python"] else None
    with locked(directory(), lambda owner: say(line="another set-up is at work there (%s); waiting for it" % owner)):
        check_owners(directory())
        for folder in managed(order["requirements"]):
            with open(marker(folder)) as file:
                made = json.load(file)
            if asked["backend"] not in (None, made.get("backend")):
                continue
            if named is None or os.path.realpath(made["base"]) == os.path.realpath(named["executable"]):
                # The one last asked for is the one that is found from now on.
                if named or asked["backend"]:
                    os.utime(marker(folder))
                return {"made": {"executable": python_of(folder), "created": False}}
        for folder in folders():
            if not is_finished(folder):
                shutil.rmtree(folder, ignore_errors=True)
        return {"made": {"executable": _build(order, base), "created": True}}


def _end_with_client():
    # type: () -> None
    while os.read(0, 1 << 12):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _base(python):
    # type: (Optional[str]) -> Dict[str, Any]
    """The interpreter to make it from: the one that was named, else the first on PATH that serves."""
    names = [os.path.expanduser(python)] if python else ["python3", "python"] + ["python3.%d" % minor for minor in (13, 12, 11, 10)]
    found = []
    for path in dict.fromkeys(shutil.which(name) for name in names):
        if path is None:
            continue
        try:
            said = subprocess.check_output([path, "-I", "-c", _ABOUT], stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, timeout=20)
            base = json.loads(said.decode().strip().splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            found.append("  %s: %s" % (path, error))
            continue
        if _OLDEST <= tuple(map(int, base["version"].split(".")[:2])) <= _NEWEST:
            return base
        found.append("  %s: it is Python %s" % (path, base["version"]))
    where = "Found there:\n%s" % "\n".join(found) if found else "There is none on its PATH."
    asked = "%s does not serve: " % python if python else ""
    raise Failure("%storchwire needs Python 3.10 to 3.13 on that machine. %s\nInstall one there, or name it:" % (asked, where), _COMMAND + " --python /path/to/python3")


def _build(order, base):
    # type: (Dict[str, Any], Dict[str, Any]) -> str
    backend, needed = order["setup"]["backend"], order["setup"]["bytes"]
    free = shutil.disk_usage(directory()).free
    if free < needed:
        raise Failure("not enough disk space there in %s: about %.1f GB needed, %.1f GB free." % (directory(), needed / 1e9, free / 1e9))
    name = "%s-%s-%s%s-%s" % (key(order["requirements"]), base["version"], base["platform"], "+" + backend if backend else "", uuid.uuid4().hex[:6])
    folder = os.path.join(directory(), name)
    start = time.monotonic()
    say(line="making a Python environment with PyTorch there (about %.1f GB on disk, %.1f GB free)" % (needed / 1e9, free / 1e9))
    say(line="  in %s" % folder)
    say(line="  from Python %s, %s" % (base["version"], base["executable"]))
    try:
        installer = _Job(order, base, folder).run()
        made = {"base": base["executable"], "version": base["version"], "installer": installer}
        if backend:
            made["backend"] = backend
        # Complete or not at all: it is what makes the environment exist.
        with open(marker(folder) + ".draft", "w") as file:
            json.dump(made, file, indent=2)
        os.replace(marker(folder) + ".draft", marker(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    say(line="ready in %d s" % (time.monotonic() - start))
    return python_of(folder)


class _Job:
    def __init__(self, order, base, folder):
        # type: (Dict[str, Any], Dict[str, Any], str) -> None
        self._base = base
        self._folder = folder
        self._python = python_of(folder)
        self._backend = order["setup"]["backend"]
        # Another build has other libraries, or none.
        text = order["requirements"]
        self._text = re.sub(r"^(nvidia-|cuda-|triton)[^\n]*==[^\n]*\n", "", text, flags=re.M) if self._backend else text
        self._list = os.path.join(order["folder"], "requirements.txt")
        with open(self._list, "w") as file:
            file.write(self._text)

    def run(self):
        # type: () -> str
        """Makes it; the name of what installed the packages."""
        uv = self._uv()
        self._make(uv)
        installer = self._install(uv)
        known = {"torch": "torch", "torchvision": "torchvision", "pyzmq": "zmq", "msgspec": "msgspec", "numpy": "numpy"}
        modules = [module for name, module in known.items() if re.search(r"^%s( *[=@].*)?$" % name, self._text, re.M)]
        if modules:
            # (It also leaves compiled files behind, which makes the first worker start in seconds.)
            _run("importing the packages", [self._python, "-I", "-c", "import " + ", ".join(modules)])
        return installer

    def _uv(self):
        # type: () -> List[str]
        # What its installer puts on the PATH of a login is not on that of a command over ssh.
        program = shutil.which("uv") or shutil.which(os.path.expanduser("~/.local/bin/uv"))
        found = [[program]] if program else []
        if "uv" not in self._base["missing"]:
            found.append([self._base["executable"], "-m", "uv"])
        return next((uv for uv in found if subprocess.call(uv + ["--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0), [])

    def _make(self, uv):
        # type: (List[str]) -> None
        what, python, missing = "making the environment", self._base["executable"], self._base["missing"]
        if uv:
            _run(what, uv + ["venv", "--no-project", "--python", python, self._folder])
        elif "ensurepip" not in missing:
            _run(what, [python, "-I", "-m", "venv", self._folder])
        elif "virtualenv" not in missing:
            _run(what, [python, "-m", "virtualenv", self._folder])
        else:
            version = ".".join(self._base["version"].split(".")[:2])
            raise Failure(
                "Python %s (%s) cannot make a virtual environment: it has no ensurepip. Install that there "
                "(on Debian and Ubuntu: sudo apt install python%s-venv), or uv. Then:" % (version, python, version),
                _COMMAND,
            )

    def _install(self, uv):
        # type: (List[str]) -> str
        pip = {}  # type: Dict[str, str]
        if not uv:
            # It needs a third of pip's time, but does not read pip's settings: where they name an index, pip is what the user means.
            file = {"PIP_CONFIG_FILE": os.environ["PIP_CONFIG_FILE"]} if "PIP_CONFIG_FILE" in os.environ else {}
            pip = pip_variables(_run("reading pip's settings", [self._python, "-I", "-m", "pip", "config", "list"], **file))
            fetch = [self._python, "-I", "-m", "pip", "install", *_QUIET, "--retries", "1", "--timeout", "10", "--only-binary", ":all:", "uv"]
            if not {"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"} & set(pip):
                try:
                    _run("fetching uv", fetch, **pip)
                    uv = [self._python, "-I", "-m", "uv"]
                except Failure:
                    say(line="  uv cannot be fetched there; pip takes longer")
        if not uv:
            if self._backend:
                raise Failure("--torch-backend %s needs uv on that machine, and none was found or fetched" % self._backend)
            _run("installing with pip", [self._python, "-I", "-m", "pip", "install", *_QUIET, "-r", self._list], **pip)
            return "pip"
        backend = ["--torch-backend", self._backend] if self._backend else []
        install = [*uv, "pip", "install", "--python", self._python, *backend, "-r", self._list]
        try:
            _run("installing with uv", install)
        except Failure as failure:
            # uv trusts certificates of its own; behind a proxy that opens connections only the system's do.
            if "certificate" not in str(failure):
                raise
            _run("installing with uv", install, UV_SYSTEM_CERTS="1", UV_NATIVE_TLS="1")
        return "uv"


def _run(what, command, **env):
    # type: (str, List[str], str) -> str
    """A program's output. It says where it stands; a failure quotes the last lines, an interruption ends all of it."""
    start = time.monotonic()
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory(),
        env=dict(installer_variables(), **env),
        # venv and pip have children, which would go on writing.
        start_new_session=True,
    )
    try:
        while True:
            try:
                output = child.communicate(timeout=2)[0].decode("utf-8", "replace")
                break
            except subprocess.TimeoutExpired:
                say(live="  %s: %d s" % (what, time.monotonic() - start))
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    if child.returncode == 0:
        return output
    lines = [line for line in output.rstrip().split("\n") if not line.startswith("Ignoring ")]
    raise Failure("%s failed there (exit code %d): %s\n  %s\nWhen that is mended:" % (what, child.returncode, " ".join(command), "\n  ".join(lines[-20:])), _COMMAND)
