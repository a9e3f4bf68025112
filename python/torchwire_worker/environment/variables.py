"""The environment's variables: those that reach an installer, and those that reach an interpreter."""

import ast
import os
import re
from typing import Dict

# Where packages come from, through which proxy, with which certificates, how patiently, and where downloads are kept.
_PIP = """INDEX_URL EXTRA_INDEX_URL NO_INDEX FIND_LINKS TRUSTED_HOST KEYRING_PROVIDER PROXY CERT CLIENT_CERT USE_FEATURE
TIMEOUT DEFAULT_TIMEOUT RETRIES RESUME_RETRIES CACHE_DIR NO_CACHE_DIR""".split()
_UV = """INDEX DEFAULT_INDEX INDEX_URL EXTRA_INDEX_URL INDEX_STRATEGY FIND_LINKS NO_INDEX KEYRING_PROVIDER
INSECURE_HOST SYSTEM_CERTS NATIVE_TLS OFFLINE CONFIG_FILE NO_CONFIG
HTTP_TIMEOUT REQUEST_TIMEOUT HTTP_CONNECT_TIMEOUT HTTP_RETRIES
CONCURRENT_DOWNLOADS CONCURRENT_BUILDS CONCURRENT_INSTALLS CACHE_DIR NO_CACHE LINK_MODE""".split()
_MEANT = {"PIP_" + name for name in _PIP} | {"UV_" + name for name in _UV} | {"PYTHON_KEYRING_BACKEND"}
_OF_AN_INDEX = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)$")
# Addressed to pip, uv, virtualenv, setuptools or Python: where something is installed, what is left out, how it runs.
_INSTALLERS = re.compile("PIP_|UV_|PYTHON|VIRTUALENV_|VIRTUAL_ENV|CONDA_|SETUPTOOLS_|DISTUTILS_|__PYVENV_LAUNCHER__")
# How an interpreter speaks and ends, and where it looks for the library that its environment has.
_OF_THE_INTERPRETER = ("PYTHONINSPECT", "PYTHONHOME", "PYTHONPLATLIBDIR", "__PYVENV_LAUNCHER__")


def installer_variables() -> Dict[str, str]:
    """The variables that are not addressed to an installer, and those that say how to get packages."""
    kept = {name: value for name, value in os.environ.items() if _reaches_installers(name.upper())}
    # A virtualenv.ini may ask for packages from elsewhere.
    return dict(kept, VIRTUALENV_CONFIG_FILE=os.devnull)


def _reaches_installers(name: str) -> bool:
    return not _INSTALLERS.match(name) or name in _MEANT or bool(_OF_AN_INDEX.match(name))


def pip_variables(listed: str) -> Dict[str, str]:
    """The settings of pip's own files that say how to get packages, as variables; pip reads the files no more.

    `listed` is the output of `pip config list`.
    """
    found = {"PIP_CONFIG_FILE": os.devnull}
    pairs = [line.partition("=") for line in listed.splitlines() if "=" in line]
    # The strongest come last.
    for section in ("global.", "install.", ":env:."):
        for name, _, value in pairs:
            variable = "PIP_" + name[len(section) :].upper().replace("-", "_")
            if name.startswith(section) and variable in _MEANT and ast.literal_eval(value):
                found[variable] = ast.literal_eval(value)
    return found


def worker_variables(python: str) -> Dict[str, str]:
    """This process's variables, without those that do not concern the interpreter that is started."""
    is_environment = os.path.exists(os.path.join(os.path.dirname(python), os.pardir, "pyvenv.cfg"))
    taken = _OF_THE_INTERPRETER if is_environment else ("PYTHONINSPECT", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if name not in taken}
