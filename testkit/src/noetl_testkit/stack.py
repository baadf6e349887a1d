"""The whole system as a black box: started by its own command, spoken to over HTTP."""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import httpx
from noetl.commands.operate import current_state, settings_of
from noetl.stack.datadir import DataDirectory, ServiceState
from noetl.stack.process import free_port
from noetl_contract.json import Json, JsonObject

from noetl_testkit.postgres import copied_password, copy_files, forget_on_power_cut
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from noetl_testkit.warm.programs import warm_program, warm_service

FINISHED = {"COMPLETED", "FAILED", "CANCELLED"}


def command(*, is_warm: bool = False) -> list[str]:
    """Return the command line of ``noetl-server`` in this environment.

    One that is warm is, in tests, a fork of a process that has loaded it (`noetl_testkit.warm`).
    """
    warm = warm_program() if is_warm else None
    return [str(warm or Path(sys.executable).with_name("noetl-server"))]


def service(module: str, *, is_warm: bool = False) -> list[str]:
    """Return the command line of one service, a fork like those of ``command`` if it is warm.

    Who kills a warm one waits for the end of its caller; the fork is gone a moment later.
    """
    warm = warm_service() if is_warm else None
    return [sys.executable, "-m", module] if warm is None else [str(warm), module]


INGRESS = ("direct", "stream")
"""Settings of `NOETL_INGRESS`, both of which a proof has to hold on."""


def add_ingress(parser: argparse.ArgumentParser) -> None:
    """Add the option by which a proof is run on one setting only."""
    parser.add_argument(
        "--ingress",
        choices=(*INGRESS, "both"),
        default="both",
        help="NOETL_INGRESS of the stacks; both: one run after the other",
    )


def each_ingress(chosen: str) -> Iterator[str]:
    """Yield each setting that the option names; stacks that start meanwhile have it."""
    for setting in INGRESS if chosen == "both" else (chosen,):
        with patch.dict(os.environ, NOETL_INGRESS=setting):
            yield setting


@dataclass
class Stack:
    """One running stack with its data directory."""

    data: Path
    port: int = field(default_factory=free_port)
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    is_warm: bool = True
    """Whether its processes may be forks of one that has loaded them, in tests."""
    process: subprocess.Popen[bytes] | None = None
    _values: dict[str, str] | None = None

    @property
    def url(self) -> str:
        """Base URL of the edge."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def scratch(self) -> Path:
        """A directory that scripts may change, unlike the rest."""
        return self.data.parent / "scratch"

    @property
    def _output(self) -> Path:
        return self.data.parent / f"{self.data.name}.up.log"

    def up(self) -> None:
        """Start the stack and wait until it is ready.

        Raises:
            RuntimeError: it ended or was not ready in time; the text has the end of its output.
        """
        # Else what is measured or shown is what users have.
        if self.is_warm and warm_program() is not None and not self.data.exists():
            self._copy_postgres()
        with self._output.open("ab") as output:
            process = subprocess.Popen(
                [
                    *command(is_warm=self.is_warm),
                    *("up", "--port", str(self.port), "--data", str(self.data)),
                    *("--ready-timeout", str(PATIENCE_SECONDS)),
                    *self.arguments,
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "NOETL_WORKER_SCRIPT_WRITE_PATHS": str(self.scratch),
                    **self.environment,
                },
                start_new_session=True,
            )
        self.process = process
        self._values = None
        try:
            wait_until(
                lambda: process.poll() is not None or self.is_ready(),
                what="the stack is ready",
            )
        except TimeoutError as error:
            raise RuntimeError(f"{error}: {self.log()}") from error
        if process.poll() is not None:
            raise RuntimeError(f"the stack ended with {process.returncode}: {self.log()}")

    def _copy_postgres(self) -> None:
        """Give the stack's own PostgreSQL its files; they take ``up`` longer than all the rest."""
        directory = DataDirectory(self.data)
        directory.root.mkdir(mode=0o700)
        identity = directory.identity()
        identity.postgres_password = copied_password()
        directory.save_identity(identity)
        copy_files(directory.postgres)
        forget_on_power_cut(directory.postgres)

    def is_ready(self) -> bool:
        """Return whether every service reports to be ready."""
        services = self.services().values()
        return bool(services) and all(service["state"] == "ready" for service in services)

    def services(self) -> dict[str, ServiceState]:
        """Return the state of every process, as ``status --json`` says, by service name."""
        state = current_state(DataDirectory(self.data))
        return {service["name"]: service for service in state["services"]}

    def log(self) -> str:
        """Return the end of the output of ``up``."""
        path = self._output
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def values(self) -> dict[str, str]:
        """Return the settings the stack gives to its services, as ``env`` prints them."""
        if self._values is None:
            with patch.dict(os.environ, self.environment):
                self._values = settings_of(DataDirectory(self.data))
        return dict(self._values)

    def admin_key(self) -> str:
        """Return the key of the stack's administrator; empty where no login is needed."""
        return DataDirectory(self.data).admin_key()

    def dsn(self, database: str | None = None) -> str:
        """Return the address of the stack's database, or of another one on its server."""
        values = self.values()
        return (
            f"postgresql://{values['POSTGRES_USER']}:{values['POSTGRES_PASSWORD']}"
            f"@{values['POSTGRES_HOST']}:{values['POSTGRES_PORT']}"
            f"/{database or values['POSTGRES_DB']}"
        )

    def database_login(self, database: str | None = None) -> dict[str, str]:
        """Return the data of a credential for the stack's database, or another on its server."""
        values = self.values()
        return {
            "db_host": values["POSTGRES_HOST"],
            "db_port": values["POSTGRES_PORT"],
            "db_user": values["POSTGRES_USER"],
            "db_password": values["POSTGRES_PASSWORD"],
            "db_name": database or values["POSTGRES_DB"],
        }

    def down(self) -> None:
        """Stop the stack as Ctrl-C does."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill_everything()
        self.process = None

    def kill_everything(self) -> None:
        """SIGKILL the supervisor and every process it started."""
        pids = [service["pid"] for service in self.services().values() if service["pid"]]
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(timeout=PATIENCE_SECONDS)
            self.process = None

    def start_worker(
        self,
        name: str,
        *,
        log: Path,
        is_warm: bool = True,
        within: Sequence[str] = (),
        **environment: str,
    ) -> subprocess.Popen[bytes]:
        """Start one more worker, in a process group of its own, which the caller ends.

        Args:
            name: its id.
            log: file that its output is added to.
            is_warm: whether it may be a fork, which outlives a kill for a moment.
            within: a command that runs the one behind it, somewhere else.
            environment: settings, which win over those of the stack.
        """
        values = {
            **os.environ,
            "NOETL_NATS_URL": self.values()["NOETL_NATS_URL"],
            "NOETL_SERVER_URL": self.url,
            "NOETL_HTTP_PORT": str(free_port()),
            "NOETL_LOG_FORMAT": "json",
            "WORKER_ID": name,
            **environment,
        }
        with log.open("ab") as output:
            return subprocess.Popen(
                [*within, *service("noetl_worker", is_warm=is_warm and not within)],
                env=values,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def client(self, token: str | None = None) -> httpx.Client:
        """Return an HTTP client of the edge.

        It shows a token, ``""`` for none; else the key of the administrator, if there is one.
        """
        shown = self.admin_key() if token is None else token
        headers = {"authorization": f"Bearer {shown}"} if shown else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_SECONDS)


@contextlib.contextmanager
def running_stack(
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    is_warm: bool = True,
) -> Iterator[Stack]:
    """Run a stack in a directory of its own for the length of the block."""
    folder = Path(tempfile.mkdtemp(prefix="noetl-e2e-"))
    stack = Stack(
        folder / "data", arguments=arguments, environment=environment or {}, is_warm=is_warm
    )
    stack.scratch.mkdir()
    try:
        stack.up()
        yield stack
    finally:
        stack.down()
        shutil.rmtree(folder, ignore_errors=True)


def register(client: httpx.Client, text: str) -> JsonObject:
    """Register a playbook and return the answer."""
    answer = client.post("/api/catalog/register", json={"content": text})
    answer.raise_for_status()
    return dict(answer.json())


def execute(client: httpx.Client, path: str, **workload: Json) -> int:
    """Start an execution and return its id."""
    answer = client.post("/api/execute", json={"path": path, "workload": workload})
    answer.raise_for_status()
    return int(answer.json()["execution_id"])


def finish(
    client: httpx.Client,
    execution_id: int,
    *,
    seconds: float = PATIENCE_SECONDS,
    poll_seconds: float = 0.02,
) -> str:
    """Wait until an execution has ended and return its status.

    Raises:
        TimeoutError: it has not ended; the text names the step it is at.
    """
    body: JsonObject = {}

    def has_ended() -> bool:
        nonlocal body
        body = client.get(f"/api/executions/{execution_id}/status").json()
        return body.get("status") in FINISHED

    try:
        wait_until(has_ended, timeout_seconds=seconds, every_seconds=poll_seconds)
    except TimeoutError as error:
        raise TimeoutError(f"{execution_id} is at {body.get('current_step')}: {body}") from error
    return str(body["status"])


def events(client: httpx.Client, execution_id: int) -> list[JsonObject]:
    """Return an execution's whole log, oldest first."""
    answer = client.get(f"/api/executions/{execution_id}")
    answer.raise_for_status()
    return list(answer.json()["events"])
