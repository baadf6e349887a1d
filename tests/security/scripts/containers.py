"""The surroundings of a worker in a container, from namespaces of this machine.

A root that can't be written, a folder in memory for temporary files and one for directories of
scripts, the user 10001 without capabilities. What the images and the engine do beside that is not
here: their own processes, networks and system calls.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import pytest

_USER = "10001"
_ENTER = f"""
set -e
for one in "$1/tmp" "$1/scripts" /dev/shm; do mount -t tmpfs -o size=64m tmpfs "$one"; done
for one in / /tmp /var/tmp "$2"; do
    if mountpoint -q "$one"; then mount -o remount,bind,ro "$one"; fi
done
cd /
shift 2
exec setpriv --reuid {_USER} --regid {_USER} --clear-groups --inh-caps=-all \
    --bounding-set=-all --no-new-privs -- "$@"
"""


class Container:
    """A command that enters a container, and the variables of its worker, as in `compose.yaml`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder / "scripts")
        self.shared = f"{folder}/tmp,/dev/shm"  # noqa: S108  of the container
        self.within = (
            *("unshare", "--mount", "sh", "-c", _ENTER, "enter", str(folder)),
            str(Path(__file__).parents[3]),
        )
        self.environment = {
            "HOME": str(folder / "tmp"),
            "TMPDIR": str(folder / "tmp"),
            # In the images this is /tmp, the default.
            "NOETL_WORKER_SCRIPT_WRITE_PATHS": self.shared,
        }

    def why_not(self) -> str:
        """Return the hindrance to making one on this machine; empty if there is none."""
        probe = (
            "import os, noetl_worker.app\n"
            "try: os.mkdir('/var/tmp/probe')\n"
            "except OSError: pass\n"
            "else: raise SystemExit('the root can be written')"
        )
        try:
            done = subprocess.run(
                [*self.within, sys.executable, "-c", probe],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        except OSError as error:
            return str(error)
        return "" if done.returncode == 0 else done.stderr[-300:]


@contextmanager
def container() -> Iterator[Container]:
    """Make one; skip the test where the machine doesn't let us."""
    folder = Path(tempfile.mkdtemp(prefix="noetl-container-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        for name in ("tmp", "scripts"):
            (folder / name).mkdir()
        made = Container(folder)
        if reason := made.why_not():
            pytest.skip(f"no namespaces here: {reason}")
        yield made
    finally:
        rmtree(folder, ignore_errors=True)
