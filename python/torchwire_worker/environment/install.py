"""The steps that turn an interpreter and a list of packages into an environment."""

import os
import re
import shutil
from typing import Any, Callable, Dict, List, Optional

from torchwire_worker.environment import packages as extra
from torchwire_worker.environment.child import run
from torchwire_worker.environment.client import Failure, tell
from torchwire_worker.environment.conflicts import conflict_in
from torchwire_worker.environment.managed import python_of, site_of
from torchwire_worker.environment.sharing import share
from torchwire_worker.environment.space import remove
from torchwire_worker.environment.variables import installer_variables, pip_variables

_REACHING = "reaching the package index (its address and proxies are settings of uv and pip)"
_QUIET = ["--no-input", "--disable-pip-version-check"]
# An index that cannot be reached is an error within a minute, whatever patience the settings have for large files.
_IMPATIENT = ["--retries", "1", "--timeout", "10"]
_NO_INDEX = 'PyTorch\'s own index, which has its build "%s", cannot be reached'
_UNREACHED = re.compile("Failed to fetch|error sending request")
_CONFLICT = "these packages do not go together%s: %s. torchwire's own keep their versions."
_MISSING = "not all packages can be had%s: %s."
# Package and module, of those that the worker imports.
_IMPORTABLE = {"torch": "torch", "torchvision": "torchvision", "pyzmq": "zmq", "msgspec": "msgspec", "numpy": "numpy"}


class NoBackend(Failure):
    """The build of PyTorch that was asked for cannot be had here; the package index's may be."""


class Conflict(Failure):
    """There are no releases that go together."""


class Job:
    def __init__(
        self,
        order: Dict[str, Any],
        folder: str,
        backend: Optional[str],
        is_default: bool,
        source: Optional[str],
        on_step: Callable[[str], None],
        on_pip: Callable[[], None],
    ) -> None:
        self.base: Dict[str, Any] = order["base"]
        self.directory: str = order["directory"]
        self.there: str = order["there"]
        self.folder = folder
        self.python = python_of(folder)
        self.backend = backend
        # Nobody has asked for this build.
        self.is_default = is_default
        # The folder of an environment whose packages all belong into this one, too; None where there is none.
        self.source = source
        # Called as each step begins.
        self.on_step = on_step
        # Called before pip installs the packages; may raise.
        self.on_pip = on_pip
        self.env = installer_variables()
        text: str = order["requirements"]
        # Another build of PyTorch has other libraries than the pinned ones, or none.
        self.packages = re.sub(r"^(nvidia-|cuda-|triton)[^\n]*==[^\n]*\n", "", text, flags=re.M) if backend else text
        # What the project wants beside them.
        self.wanted = extra.wanted(order)
        self._is_open = extra.is_open(order)
        # Far from the client, a folder goes with the connection.
        self._place: str = order.get("folder", folder)

    def run(self, what: str, command: List[str], **env: str) -> str:
        return run(what, command, self.directory, dict(self.env, **env), self.there)

    def _lists(self) -> List[str]:
        """Writes what is to be installed into files; the arguments that name them to an installer."""
        if self.wanted is None:
            return ["-r", self._write("requirements.txt", self.packages)]
        held = extra.constraints(self.wanted, self.packages)
        text = "%s\n%s\n" % (self.packages, "\n".join(self.wanted["packages"]))
        return ["-c", self._write("constraints.txt", "\n".join(held)), "-r", self._write("requirements.txt", text)]

    def _write(self, name: str, text: str) -> str:
        path = os.path.join(self._place, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def install(self, run: Callable[[List[str]], None]) -> None:
        """Installs by `run`, which takes an installer's arguments that name the lists.

        Conflict where nothing goes together. While versions are still to be found, those that were recorded for
        packages which nobody has asked for give way.
        """
        try:
            self._install_once(run)
        except Conflict:
            loose = extra.asked_alone(self.wanted or {})
            if not self._is_open or loose == self.wanted:
                raise
            tell(line="torchwire: not all recorded versions go with that; those of packages not asked for may change")
            self.wanted = loose
            self._install_once(run)

    def _install_once(self, run: Callable[[List[str]], None]) -> None:
        try:
            run(self._lists())
        except Failure as failure:
            if self.wanted is None:
                raise
            pinned = set(re.findall(r"^[\w.-]+==[^\s;]+", self.packages, re.M))
            why = conflict_in(failure.output, pinned, set(extra.constraints(self.wanted, self.packages)))
            if why is None:
                raise
            # What was recorded for another torchwire, or another Python, may not do here.
            command = None if self._is_open else "npx torchwire add --upgrade"
            text = _MISSING if why.startswith("the package index has no") else _CONFLICT
            raise Conflict(text % (self.there, why.rstrip(".")), command) from None

    def ask(self, script: str) -> str:
        """What a script prints that runs in the environment."""
        return self.run("looking at what was installed", [self.python, "-I", "-c", script])

    def probe(self) -> List[str]:
        """A small one of the packages, to see whether the index answers; empty where it is not listed."""
        return re.findall(r"^msgspec==[^\s;]+", self.packages, re.M)[:1]


def install(job: Job) -> str:
    """Makes the environment; the name of what installed the packages.

    That is uv where it is found, else a uv that is fetched into the fresh environment, else pip.

    Python runs isolated (`-I`): neither PYTHONPATH nor the user's own packages pass for installed ones. Other settings
    of uv and pip than those in variables.py would install elsewhere, where the packages would stay.

    Raises NoBackend where PyTorch's own index cannot be reached, or where there is no uv, which alone knows it.
    """
    uv = _find_uv(job)
    job.on_step("making the environment")
    job.run("making the environment", _making(job, uv))
    if job.source is not None:
        job.on_step("sharing what is there")
        try:
            share(job.source, job.folder)
        except OSError:
            # This file system has no hard links: everything is installed.
            job.source = None
            remove(job.folder)
            job.run("making the environment", _making(job, uv))
    installer = _install_with_uv(job, uv) if uv else _install_without_uv(job)
    modules = [module for name, module in _IMPORTABLE.items() if re.search(_line_of(name), job.packages, re.M)]
    if modules:
        # Some packages install and then do not load. It also leaves compiled files, so the first worker starts fast.
        job.on_step("importing the packages")
        job.run("importing the packages", [job.python, "-I", "-c", "import " + ", ".join(modules)])
    return installer


def _line_of(name: str) -> str:
    return "^%s( *[=@].*)?$" % name


def _find_uv(job: Job) -> List[str]:
    """The command of a uv that runs; empty where there is none."""
    # uv's installer puts it into a folder that is not on the PATH of a command over ssh.
    program = shutil.which("uv") or (shutil.which(os.path.expanduser("~/.local/bin/uv")) if job.there else None)
    found = [[program]] if program else []
    if "uv" not in job.base["missing"]:
        found.append([job.base["executable"], "-m", "uv"])
    for command in found:
        try:
            job.run("looking for uv", command + ["--version"])
            return command
        except Failure:
            continue
    return []


def _making(job: Job, uv: List[str]) -> List[str]:
    """The command that makes an environment without packages."""
    python, missing = job.base["executable"], job.base["missing"]
    if uv:
        return uv + ["venv", "--no-project", "--python", python, job.folder]
    if job.source is not None and os.path.isdir(os.path.join(site_of(job.source), "pip")):
        # pip comes with what is shared, and making it takes longer than all else.
        return [python, "-I", "-m", "venv", "--without-pip", job.folder]
    if "ensurepip" not in missing:
        return [python, "-I", "-m", "venv", job.folder]
    if "virtualenv" not in missing:
        return [python, "-m", "virtualenv", job.folder]
    program = shutil.which("virtualenv")
    if program:
        return [program, "--python", python, job.folder]
    raise _without_ensurepip(job)


def _without_ensurepip(job: Job) -> Failure:
    version, python = job.base["version"], job.base["executable"]
    what = "Python %s (%s) cannot make a virtual environment: it has no ensurepip" % (version, python)
    if not (python.startswith("/usr/bin/") and shutil.which("/usr/bin/apt-get")):
        command = "npx torchwire setup --python /path/to/python3"
        more = "Install uv or virtualenv%s, which need none, or a Python that has it." % job.there
        return Failure("%s. %s" % (what, more), command)
    mending = "sudo apt install python%s-venv" % ".".join(version.split(".")[:2])
    what += ", which Debian and Ubuntu keep in a package of its own"
    if job.there:
        return Failure("%s. Run%s: %s. Then, here:" % (what, job.there, mending), "npx torchwire setup")
    return Failure(what + ".", mending + " && npx torchwire setup")


def _install_with_uv(job: Job, uv: List[str]) -> str:
    def run_uv(what: str, *more: str, **env: str) -> None:
        command = [*uv, "pip", "install", "--python", job.python, *more]
        try:
            job.run(what, command, **env)
        except Failure as failure:
            # uv trusts certificates of its own; behind a proxy that opens connections only the system's do.
            if "certificate" not in str(failure):
                raise
            system = {name: job.env.get(name, "1") for name in ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS")}
            job.run(what, command, **dict(system, **env))

    job.on_step("asking the package index")
    for package in job.probe():
        run_uv(_REACHING, "--dry-run", "--no-deps", package, UV_HTTP_RETRIES="1", UV_HTTP_TIMEOUT="10")
    if job.backend and job.source is None:
        _ask_backend(job, run_uv)
    job.on_step("installing with uv")
    backend = ["--torch-backend", job.backend] if job.backend else []

    def install(lists: List[str]) -> None:
        try:
            run_uv("installing the packages", *backend, *lists)
        except Failure as failure:
            # The package index was reached just now: this is PyTorch's.
            if not backend or not _UNREACHED.search(str(failure)):
                raise
            if job.source is None:
                raise NoBackend(_NO_INDEX % job.backend) from None
            # PyTorch itself is there already.
            run_uv("installing the packages", *lists)

    job.install(install)
    return "uv"


def _ask_backend(job: Job, run_uv: Callable[..., None]) -> None:
    """NoBackend within seconds where PyTorch's own index does not answer: nobody may know that it is asked."""
    for package in re.findall(r"^torch==[^\s;]+", job.packages, re.M)[:1]:
        job.on_step("asking PyTorch's own index")
        ask = ["--dry-run", "--no-deps", "--torch-backend", str(job.backend), package]
        try:
            run_uv("asking PyTorch's own index", *ask, UV_HTTP_RETRIES="1", UV_HTTP_TIMEOUT="10")
        except Failure as failure:
            if not _UNREACHED.search(str(failure)) and not job.is_default:
                raise
            raise NoBackend(_NO_INDEX % job.backend) from None


def _install_without_uv(job: Job) -> str:
    """With a uv that is fetched, which takes a third of pip's time; else with pip."""
    # uv may be missing from the index, or not get through to it where pip does.
    pip = [job.python, "-I", "-m", "pip"]
    # pip's files are read once. The settings of them that count are given by variables, and pip reads no files more.
    file = {name: os.environ[name] for name in ("PIP_CONFIG_FILE",) if name in os.environ}
    listed = job.run("reading pip's settings", [*pip, "--disable-pip-version-check", "config", "list"], **file)
    settings = pip_variables(listed)
    # uv does not read pip's settings: where they name an index, the user means pip.
    if not {"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"} & set(settings):
        try:
            job.on_step("fetching uv")
            fetch = [*pip, "install", *_QUIET, *_IMPATIENT, "--only-binary", ":all:", "uv"]
            job.run("fetching uv", fetch, **settings)
            return _install_with_uv(job, [job.python, "-I", "-m", "uv"])
        except (NoBackend, Conflict):
            raise
        except Failure:
            pass
    if job.backend and job.source is None:
        raise NoBackend("--torch-backend %s needs uv, and none that works here was found or fetched" % job.backend)
    job.on_step("asking the package index")
    for package in job.probe():
        dry = ["--dry-run", "--no-deps", "--ignore-installed", package]
        job.run(_REACHING, [*pip, "install", *_QUIET, *_IMPATIENT, *dry], **settings)
    job.on_pip()
    job.on_step("installing with pip")
    install = [*pip, "install", *_QUIET]

    def run_pip(lists: List[str]) -> None:
        job.run("installing the packages", install + lists, **settings)

    job.install(run_pip)
    return "pip"
