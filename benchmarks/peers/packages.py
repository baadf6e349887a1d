"""Throwaway environments: packages of peers, fetched by the ordinary clients."""

import shutil
import subprocess
import sys
from pathlib import Path

_SECONDS = 300


class NotHereError(RuntimeError):
    """A peer can't be had on this machine; the text says why."""


def python_packages(folder: Path, *names: str) -> Path:
    """Return the Python of an environment with these packages, made if it is not there.

    Raises:
        NotHereError: the index doesn't give them.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        _do([sys.executable, "-m", "venv", str(folder)], "can't make an environment", folder)
    _do([str(python), "-m", "pip", "install", "-q", *names], "the Python index is away", folder)
    return python


def node_packages(folder: Path, *names: str) -> Path:
    """Return a folder with these npm packages.

    Raises:
        NotHereError: there is no Node, or the registry doesn't give them.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotHereError("node and npm are not installed")
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    _do(["npm", "install", *options, *names], "the npm registry is away", folder)
    return folder


def _do(command: list[str], what: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotHereError(f"{what}: no answer in {_SECONDS} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotHereError(f"{what}: {said[-1] if said else done.returncode}")
