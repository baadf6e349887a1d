"""A container engine to work with: one that runs, or one that is brought up for the while."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_PACKAGES = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "mmdebstrap", "iptables")
_READY_SECONDS = 60.0
_END_SECONDS = 60.0
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 0.2
_SHORT_SECONDS = 60.0
_INSTALL_SECONDS = 600.0
_LAST_LINES = 20


class NoEngineError(Exception):
    """No container engine can be had here; the text says why."""


class CommandFailedError(Exception):
    """A command failed; the text has its last lines."""


def run(
    command: Sequence[str],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Run a command and return its output.

    Raises:
        CommandFailedError: it isn't there, ended with another code than 0, or was too slow.
    """
    try:
        done = subprocess.run(  # noqa: S603 -- our own commands
            command,
            timeout=timeout,
            env={**os.environ, **(environment or {})},
            cwd=folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandFailedError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailedError(f"{' '.join(command)}: not done in {timeout:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-_LAST_LINES:]
        raise CommandFailedError("\n".join([f"{' '.join(command)}: exit {done.returncode}", *said]))
    return done.stdout


def piped(
    making: Sequence[str],
    taking: Sequence[str],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run two commands, the second of which reads the output of the first; end both in any case.

    Args:
        making: the first.
        taking: the second.
        timeout: seconds for both together.
        environment: of both, beside our own.

    Raises:
        CommandFailedError: one isn't there, ended with another code than 0, or was too slow.
    """
    deadline = time.monotonic() + timeout
    names = f"{making[0]} | {taking[0]}"
    children: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryFile() as log:

        def child(command: Sequence[str], stdin: IO[bytes] | int, stdout: int | IO[bytes]) -> None:
            children.append(
                subprocess.Popen(  # noqa: S603 -- our own commands
                    command,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=log,
                    env={**os.environ, **(environment or {})},
                    start_new_session=True,
                )
            )

        try:
            child(making, subprocess.DEVNULL, subprocess.PIPE)
            # Ours is closed: the first has to hear it when the second is gone.
            with children[0].stdout or log as pipe:
                child(taking, pipe, log)
            codes = [one.wait(max(0.0, deadline - time.monotonic())) for one in children]
        except FileNotFoundError as error:
            raise CommandFailedError(f"{error.filename} is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise CommandFailedError(f"{names}: not done in {timeout:.0f} s") from error
        finally:
            for one in children:
                _end(one)
        if any(codes):
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
            raise CommandFailedError("\n".join([f"{names}: exit {codes}", *said]))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started; nothing happens to one that has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass(frozen=True)
class Engine:
    """An engine that answers."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that a client needs to reach it."""

    def docker(self, *words: str, timeout: float = _SHORT_SECONDS) -> str:
        """Run a command of its client.

        Raises:
            CommandFailedError: it failed or was too slow.
        """
        return run(["docker", *words], timeout=timeout, environment=self.environment)


def running() -> Engine:
    """Return the engine that the environment names.

    Raises:
        NoEngineError: none answers, or a part of its client is missing.
    """
    engine = Engine("the engine that runs here")
    try:
        engine.docker("version", "--format", "{{.Server.Version}}", timeout=10)
    except CommandFailedError as error:
        raise NoEngineError(f"no engine runs: {str(error).splitlines()[-1]}") from error
    try:
        engine.docker("buildx", "version")
        engine.docker("compose", "version")
    except CommandFailedError as error:
        raise NoEngineError(f"docker lacks buildx or compose: {error}") from error
    return engine


def install() -> None:
    """Install Docker from Debian's packages, unless it is there.

    Raises:
        NoEngineError: not root, not Debian, or the packages can't be had.
    """
    if os.geteuid() != 0:
        raise NoEngineError("starting an engine needs root")
    if all(map(shutil.which, ("dockerd", "docker", "mmdebstrap", "iptables"))):
        return
    if shutil.which("apt-get") is None:
        raise NoEngineError("there is no apt-get to install one with")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *_PACKAGES]
    try:
        run(["apt-get", "update", "-qq"], timeout=_INSTALL_SECONDS, environment=quiet)
        run(install, timeout=_INSTALL_SECONDS, environment=quiet)
    except CommandFailedError as error:
        raise NoEngineError(f"Debian's packages of Docker can't be installed: {error}") from error


@contextmanager
def started(scratch: Path) -> Iterator[Engine]:
    """Start an engine whose images, containers and sockets are all below a folder; end it.

    Raises:
        NoEngineError: it doesn't answer; the text has the end of its log.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    address = f"unix://{scratch}/docker.sock"
    log = scratch / "dockerd.log"
    places = ("--data-root", f"{scratch}/data", "--exec-root", f"{scratch}/exec")
    command = ["dockerd", *places, "--host", address, "--pidfile", f"{scratch}/pid"]
    with log.open("wb") as output:
        daemon = subprocess.Popen(  # noqa: S603 -- see above
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    engine = Engine("a dockerd of our own", {"DOCKER_HOST": address})
    try:
        _wait(engine, daemon, log)
        yield engine
    finally:
        daemon.terminate()
        try:
            daemon.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        # The daemon mounts its folder onto itself and leaves that behind, so it can't be removed.
        unmount = ["umount", "--quiet", f"{scratch}/data"]
        subprocess.run(unmount, check=False, capture_output=True, timeout=_SHORT_SECONDS)  # noqa: S603 -- ours


def _wait(engine: Engine, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while daemon.poll() is None and time.monotonic() < deadline:
        try:
            engine.docker("info", timeout=10)
        except CommandFailedError:
            time.sleep(_LOOK_SECONDS)
        else:
            return
    said = "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
    raise NoEngineError(f"dockerd can't run here:\n{said}")
