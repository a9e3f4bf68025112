"""Which variables are meant for a set-up, as the client's own set-up has them (bridge/environment/variables.ts)."""

import ast
import os
import re
from typing import Dict

# Where packages come from, through which proxy, with which certificates, how patiently, and where downloads are kept.
_PIP = """INDEX_URL EXTRA_INDEX_URL NO_INDEX FIND_LINKS TRUSTED_HOST KEYRING_PROVIDER PROXY CERT CLIENT_CERT USE_FEATURE
TIMEOUT DEFAULT_TIMEOUT RETRIES RESUME_RETRIES CACHE_DIR NO_CACHE_DIR""".split()
_UV = """INDEX DEFAULT_INDEX INDEX_URL EXTRA_INDEX_URL INDEX_STRATEGY FIND_LINKS NO_INDEX KEYRING_PROVIDER INSECURE_HOST SYSTEM_CERTS NATIVE_TLS
OFFLINE CONFIG_FILE NO_CONFIG HTTP_TIMEOUT REQUEST_TIMEOUT HTTP_CONNECT_TIMEOUT HTTP_RETRIES
CONCURRENT_DOWNLOADS CONCURRENT_BUILDS CONCURRENT_INSTALLS CACHE_DIR NO_CACHE LINK_MODE""".split()
_MEANT = {"PIP_" + name for name in _PIP} | {"UV_" + name for name in _UV} | {"PYTHON_KEYRING_BACKEND"}
# Addressed to pip, uv, virtualenv, setuptools or Python: where something is installed, what is left out, how it runs.
_INSTALLERS = re.compile("PIP_|UV_|PYTHON|VIRTUALENV_|VIRTUAL_ENV|CONDA_|SETUPTOOLS_|DISTUTILS_|__PYVENV_LAUNCHER__")
# How an interpreter speaks and ends, and where it looks for the library that its environment has.
_OF_THE_INTERPRETER = ("PYTHONINSPECT", "PYTHONHOME", "PYTHONPLATLIBDIR", "__PYVENV_LAUNCHER__")


def installer_variables():
    # type: () -> Dict[str, str]
    """What is not addressed to an installer, and what is meant of the rest."""
    kept = {name: value for name, value in os.environ.items() if not _INSTALLERS.match(name) or name in _MEANT or re.match(r"UV_INDEX_\w+_(USERNAME|PASSWORD)$", name)}
    # A virtualenv.ini may ask for packages from elsewhere.
    return dict(kept, VIRTUALENV_CONFIG_FILE=os.devnull)


def pip_variables(listed):
    # type: (str) -> Dict[str, str]
    """The same of what pip's own files say: they are read once, and then not by pip any more. `listed`: what `pip config list` prints."""
    found = {"PIP_CONFIG_FILE": os.devnull}
    pairs = [line.partition("=") for line in listed.splitlines() if "=" in line]
    for section in ("global.", "install.", ":env:."):
        for name, _, value in pairs:
            variable = "PIP_" + name[len(section) :].upper().replace("-", "_")
            if name.startswith(section) and variable in _MEANT and ast.literal_eval(value):
                found[variable] = ast.literal_eval(value)
    return found


def worker_variables(python):
    # type: (str) -> Dict[str, str]
    """This environment, as an interpreter is to have it."""
    is_environment = os.path.exists(os.path.join(os.path.dirname(python), os.pardir, "pyvenv.cfg"))
    taken = _OF_THE_INTERPRETER if is_environment else ("PYTHONINSPECT", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if name not in taken}
