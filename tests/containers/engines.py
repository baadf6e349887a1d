"""A Docker or Podman engine for a proof, with the image of all playbooks."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import CommandFailedError, Engine, NoEngineError, install, run, started
from texts import IMAGE, VOLUME
from world import expect

_APPLETS = ("sh", "echo", "sleep", "cat", "tail", "touch", "mkfifo", "rm", "true", "false")
_LABEL = "label=noetl.tool-kind=container"


class EnginePlace:
    """An engine, asked by its own client."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def names(self, *, every: bool) -> list[str]:
        """Return the names of the containers of steps."""
        words = ("ps", "--format", "{{.Names}}", "--filter", _LABEL, *(("--all",) if every else ()))
        return self._engine.docker(*words).split()

    def remove(self, name: str) -> None:
        """Remove a container, also one that runs."""
        self._engine.docker("rm", "--force", name)

    def in_gate(self, script: str) -> None:
        """Run a script in a container of its own with the volume."""
        shell = ("--entrypoint", "/bin/sh", "--volume", f"{VOLUME}:/gate", IMAGE, "-c", script)
        self._engine.docker("run", "--rm", *shell)


@contextmanager
def engine_at(socket: str, scratch: Path) -> Iterator[tuple[Engine, str]]:
    """Return the engine of a socket, or one of our own, with its address.

    Raises:
        NoEngineError: none can be had.
    """
    if socket:
        address = f"unix://{socket}"
        yield Engine("the engine of the socket", {"DOCKER_HOST": address}), address
        return
    install()
    with started(scratch / "engine") as engine:
        yield engine, engine.environment["DOCKER_HOST"]


def make_image(engine: Engine, scratch: Path) -> None:
    """Make the image of all playbooks, unless it is there.

    Raises:
        NoEngineError: there is no static busybox.
    """
    try:
        engine.docker("image", "inspect", IMAGE)
    except CommandFailedError:
        busybox = shutil.which("busybox")
        if busybox is None:
            run(["apt-get", "install", "-y", "-qq", "busybox-static"], timeout=600)
            busybox = shutil.which("busybox")
        if busybox is None:
            raise NoEngineError("the image needs a busybox, and there is none") from None
        root = scratch / "image"
        (root / "bin").mkdir(parents=True)
        shutil.copy(busybox, root / "bin" / "busybox")
        for name in _APPLETS:
            (root / "bin" / name).symlink_to("busybox")
        # A script of a playbook is a shell's here.
        python = root / "bin" / "python"
        python.write_text('#!/bin/sh\nexec /bin/sh "$@"\n')
        python.chmod(0o755)
        packed = run(["tar", "-C", str(root), "-cf", str(scratch / "image.tar"), "."], timeout=60)
        expect(not packed, packed)
        engine.docker("import", str(scratch / "image.tar"), IMAGE)
