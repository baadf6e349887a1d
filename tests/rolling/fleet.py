"""All services with two replicas each, as processes that are restarted one after the other."""

import base64
import os
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from noetl.stack.process import free_port
from noetl.stack.servers.databases import Databases
from noetl.stack.services import SHARDED
from noetl_common.shards import DatabaseAddress
from noetl_testkit.oracles.effects import Ledger
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import wait_until

DRAIN_SECONDS = 3.0
READY_SECONDS = 90.0
_STOP_SECONDS = 60.0

EDGE = "api-gateway"
# In the order in which a chart's Deployments would be rolled by hand: whoever asks comes last.
SERVICES: Mapping[str, tuple[str, dict[str, str]]] = {
    "catalog": ("noetl_catalog", {}),
    "orchestrator": ("noetl_orchestrator", {}),
    "outbox": ("noetl_outbox", {}),
    "projector": ("noetl_projector", {}),
    EDGE: ("noetl_api_gateway", {"NOETL_DRAIN_DELAY_SECONDS": str(DRAIN_SECONDS)}),
    "worker-nats": ("noetl_worker", {"NOETL_WORKER_TRANSPORT": "nats"}),
    "worker-http": ("noetl_worker", {"NOETL_WORKER_TRANSPORT": "http"}),
}
REPLICAS = 2


@dataclass
class Replica:
    """One process and the port of its probes."""

    service: str
    number: int
    shard: int = 0
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Name of the replica in logs."""
        return f"{self.service}-s{self.shard}-{self.number}"

    def is_ready(self) -> bool:
        """Ask its readiness probe."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as got:
                return bool(got.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@dataclass
class Fleet:
    """The processes of an installation.

    Attributes:
        folder: for logs.
        shards: their databases; the first is the cluster's too.
        url: of the balancer, under which all call the edge.
        code: checkout of the release that is started; None for the one that is installed.
        ends: exit codes of processes that were stopped.
        settings: more of them, for all services.
    """

    folder: Path
    shards: Sequence[Database]
    nats_url: str
    url: str
    code: Path | None = None
    replicas: list[Replica] = field(default_factory=list)
    ends: Counter[int] = field(default_factory=Counter)
    settings: Mapping[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(
        default_factory=lambda: {
            "NOETL_ENCRYPTION_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "NOETL_COMMAND_KEY": secrets.token_hex(32),
            "NOETL_INTERNAL_API_TOKEN": secrets.token_hex(16),
        }
    )

    def __post_init__(self) -> None:
        self.scratch.mkdir(exist_ok=True)
        self.replicas = [
            Replica(service, number, shard)
            for service in SERVICES
            for shard in range(len(self.shards) if service in SHARDED else 1)
            for number in range(1, REPLICAS + 1)
        ]

    @property
    def scratch(self) -> Path:
        """A directory that scripts may change."""
        return self.folder / "scratch"

    @property
    def ledger(self) -> Ledger:
        """The runs of their tools."""
        return Ledger(self.scratch / "effects")

    @property
    def database(self) -> Database:
        """The database of the cluster."""
        return self.shards[0]

    @property
    def addresses(self) -> Databases:
        """The databases as commands and services get them."""
        shards = tuple(
            DatabaseAddress(
                host=one.host,
                port=one.port,
                user=one.user,
                password=one.password,
                database=one.name,
            )
            for one in self.shards
        )
        return Databases(shards=shards, cluster=shards[0], is_sharded=len(shards) > 1)

    def up(self) -> None:
        """Start every replica and wait until all are ready."""
        for replica in self.replicas:
            self._start(replica)
        for replica in self.replicas:
            self._await(replica)

    def of(self, service: str) -> Sequence[Replica]:
        """Return the replicas of a service."""
        return [one for one in self.replicas if one.service == service]

    def roll(self, replica: Replica) -> None:
        """Stop a replica as Kubernetes does, start it anew and wait until it is ready."""
        process = replica.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=_STOP_SECONDS)
        self.ends[code] += 1
        self._start(replica)
        self._await(replica)

    def stop(self, *services: str) -> None:
        """Stop all replicas of services in order."""
        replicas = [one for service in services for one in self.of(service)]
        for one in replicas:
            assert one.process is not None
            one.process.send_signal(signal.SIGTERM)
        for one in replicas:
            assert one.process is not None
            self.ends[one.process.wait(timeout=_STOP_SECONDS)] += 1

    def kill(self, service: str) -> None:
        """Kill all replicas of a service."""
        for replica in self.of(service):
            if replica.process is not None and replica.process.poll() is None:
                replica.process.kill()
                replica.process.wait()

    def start(self, service: str) -> None:
        """Start all replicas of a service and wait until they are ready."""
        for replica in self.of(service):
            self._start(replica)
        for replica in self.of(service):
            self._await(replica)

    def down(self) -> None:
        """Kill what is left."""
        for service in SERVICES:
            self.kill(service)

    def _start(self, replica: Replica) -> None:
        module, more = SERVICES[replica.service]
        # A pod keeps its address for its life only; here that of its successor is the same.
        environment = {
            **os.environ,
            **self.addresses.environment,
            **self.keys,
            "NOETL_SHARD_COUNT": str(len(self.shards)),
            "NOETL_SHARD_INDEX": str(replica.shard),
            "NOETL_NATS_URL": self.nats_url,
            "NOETL_PUBLIC_SERVER_URL": self.url,
            "NOETL_SERVER_URL": self.url,
            "NOETL_HTTP_HOST": "127.0.0.1",
            "NOETL_HTTP_PORT": str(replica.port),
            "NOETL_LOG_FORMAT": "json",
            "NOETL_SHUTDOWN_GRACE_SECONDS": "20",
            "WORKER_POOL_NAME": "default",
            # A pod's name, which its successor doesn't have.
            "WORKER_ID": f"{replica.name}-{secrets.token_hex(3)}",
            "NOETL_WORKER_SCRIPT_WRITE_PATHS": str(self.scratch),
            **self.settings,
            **more,
        }
        # Tools are found by what is installed, so other code has an environment of its own.
        python = sys.executable if self.code is None else str(self.code / ".venv/bin/python")
        with (self.folder / f"{replica.name}.log").open("ab") as log:
            replica.process = subprocess.Popen(
                [python, "-m", module],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await(self, replica: Replica) -> None:
        process = replica.process
        assert process is not None

        def is_up() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{replica.name} ended with {process.returncode}")
            return replica.is_ready()

        wait_until(is_up, what=f"{replica.name} is ready", timeout_seconds=READY_SECONDS)
