"""The stack of compose.yaml as a project of its own: with secrets, port and images of the proof."""

import json
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from bases import Base
from engine import CommandFailedError, Engine, run

SERVERS = ("nats", "postgres")
MIGRATE = "migrate"
_BUILD_SECONDS = 1800.0
_UP_SECONDS = 240
_PLAYBOOK_SECONDS = 60.0
_LOOK_SECONDS = 0.1


class CheckFailedError(Exception):
    """Something is not as it is promised."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """State of a container, as the engine reports it."""

    service: str
    id: str
    health: str
    user: str
    pid: int
    exit_code: int
    started: str
    is_read_only: bool
    is_privileged: bool


class Stack:
    """The stack of containers, and its requests and commands."""

    def __init__(self, engine: Engine, root: Path, scratch: Path, bases: Sequence[Base]) -> None:
        self._engine = engine
        self._root = root
        self.version = f"proof-{uuid.uuid4().hex[:8]}"
        self.base = bases[0].image
        self._file = scratch / f"{self.version}.env"
        run([str(root / "tools" / "compose_secrets"), str(self._file)], timeout=10)
        self._secrets = dict(
            line.split("=", 1) for line in self._file.read_text().splitlines() if line
        )
        self.port = _free_port()
        with self._file.open("a") as file:
            file.writelines(
                f"{name}={value}\n"
                for name, value in {
                    "NOETL_PORT": self.port,
                    "NOETL_VERSION": self.version,
                    **{base.variable: base.image for base in bases},
                }.items()
            )

    @property
    def url(self) -> str:
        """Address of the edge."""
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *words: str, timeout: float = _UP_SECONDS) -> str:
        """Run a command of the composer.

        Raises:
            CommandFailedError: it failed or was too slow.
        """
        return self._engine.docker(
            *(
                "compose",
                "--ansi",
                "never",
                "--project-name",
                f"noetl-{self.version}",
                "--env-file",
                str(self._file),
            ),
            *("--file", str(self._root / "compose.yaml"), *words),
            timeout=timeout,
        )

    def build(self) -> dict[str, int]:
        """Build all images; return their sizes in bytes."""
        self.compose("build", "--quiet", timeout=_BUILD_SECONDS)
        return {name: self.size(name) for name in self.images()}

    def images(self) -> list[str]:
        """Return the names of our images."""
        return sorted(n for n in self.compose("config", "--images").split() if self.version in n)

    def size(self, image: str) -> int:
        """Return the size of an image in bytes."""
        return int(str(self._inspect(image)[0]["Size"]))

    def up(self) -> None:
        """Start everything and wait until it is healthy."""
        wait = ("--wait", "--wait-timeout", str(_UP_SECONDS))
        self.compose("up", "--detach", "--no-build", *wait, timeout=_UP_SECONDS + 60)

    def remove(self) -> None:
        """Remove containers, networks, volumes and images of the proof."""
        images = self.images()
        self.compose("down", "--volumes", "--timeout", "5")
        self._engine.docker("image", "rm", "--force", *images)
        self._file.unlink(missing_ok=True)

    def containers(self) -> list[Container]:
        """Return all containers, also those that have ended."""
        ids = self.compose("ps", "--all", "--quiet").split()
        return sorted((_container(found) for found in self._inspect(*ids)), key=lambda c: c.service)

    def container(self, service: str) -> Container:
        """Return the container of a service."""
        found = [container for container in self.containers() if container.service == service]
        if len(found) != 1:
            raise CheckFailedError(f"{service} has {len(found)} containers")
        return found[0]

    def inside(self, service: str, *words: str, user: str = "") -> str:
        """Run a command in the container of a service.

        Raises:
            CommandFailedError: it failed.
        """
        login = ("--user", user) if user else ()
        return self.compose("exec", "-T", *login, service, *words)

    def kill(self, containers: Sequence[Container]) -> None:
        """Kill the processes of containers as if they had died: the engine has no part in it."""
        pids = " ".join(str(container.pid) for container in containers)
        self._engine.docker(
            *("run", "--rm", "--pid", "host", "--user", "0", "--network", "none"),
            *(self.base, "sh", "-c", f"kill -9 {pids}"),
        )

    def ask(self, path: str, *, with_key: bool = True) -> httpx.Response:
        """Ask the edge."""
        key = {"Authorization": f"Bearer {self._secrets['NOETL_ADMIN_KEY']}"} if with_key else {}
        return httpx.get(f"{self.url}{path}", headers=key, timeout=30)

    def ask_internally(self, path: str) -> httpx.Response:
        """Ask the edge with the token of the system pool."""
        token = self._secrets["NOETL_INTERNAL_API_TOKEN"]
        return httpx.get(
            f"{self.url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )

    def play(self, playbook: str) -> None:
        """Run a playbook to its end by the command line of this checkout.

        Raises:
            CommandFailedError: it didn't complete.
        """
        program = str(self._root / ".venv" / "bin" / "noetl-server")
        options = ("--server-url", self.url, "--token", self._secrets["NOETL_ADMIN_KEY"])
        run([program, "run", *options, str(self._root / playbook)], timeout=_PLAYBOOK_SECONDS)

    def logs(self) -> str:
        """Return the last lines of every container."""
        return self.compose("logs", "--no-color", "--tail", "12")

    def _inspect(self, *names: str) -> list[dict[str, object]]:  # what the engine answers
        if not names:
            return []
        found: list[dict[str, object]] = json.loads(self._engine.docker("inspect", *names))
        return found


def _container(found: dict[str, object]) -> Container:
    config, state, host = (_part(found, name) for name in ("Config", "State", "HostConfig"))
    return Container(
        service=str(_part(config, "Labels")["com.docker.compose.service"]),
        id=str(found["Id"]),
        health=str(_part(state, "Health").get("Status", "none")),
        user=str(config["User"]),
        pid=int(str(state["Pid"])),
        exit_code=int(str(state["ExitCode"])),
        started=str(state["StartedAt"]),
        is_read_only=bool(host["ReadonlyRootfs"]),
        is_privileged=bool(host["Privileged"]),
    )


def _part(found: dict[str, object], name: str) -> dict[str, object]:
    part = found.get(name) or {}
    if not isinstance(part, dict):
        raise CheckFailedError(f"the engine says nothing of {name}")
    return part


def until[T](look: Callable[[], T | None], *, seconds: float, what: str) -> T:
    """Wait until something is there, and return it.

    Raises:
        CheckFailedError: it isn't in time; the text says for what was waited.
    """
    deadline = time.monotonic() + seconds
    last = ""
    while time.monotonic() < deadline:
        try:
            found = look()
        except (CommandFailedError, httpx.HTTPError) as error:
            found, last = None, str(error)
        if found is not None:
            return found
        time.sleep(_LOOK_SECONDS)
    raise CheckFailedError(f"not within {seconds:.0f} s: {what} {last}".strip())


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def quietly(stack: Stack) -> None:
    """Remove the stack, in any state."""
    try:
        stack.remove()
    except (CommandFailedError, subprocess.SubprocessError) as error:
        print(f"the stack could not be removed: {error}")  # noqa: T201 -- what the program says
