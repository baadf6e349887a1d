"""Three NATS servers that keep their streams together, each in its own process."""

import json
import secrets
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from noetl.stack.process import free_port
from noetl.stack.servers.nats import NatsInstance
from noetl_contract.documents.broker_users import broker_users
from noetl_testkit.process import start
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

NODES = 3
_READY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class ClusterInstance(NatsInstance):
    """One server of a cluster."""

    cluster_port: int
    routes: tuple[str, ...]

    def _settings(self) -> dict[str, object]:
        cluster = {
            "name": "noetl",
            "listen": f"127.0.0.1:{self.cluster_port}",
            "routes": list(self.routes),
        }
        return {**super()._settings(), "cluster": cluster}


@dataclass
class Node:
    """A server of the cluster, running or not."""

    instance: ClusterInstance
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """By which the others know it."""
        return self.instance.name

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it; it is ready later."""
        self.instance.prepare()
        log = self.instance.directory / "nats.log"
        self.process = start(self.instance.command(), log=log)

    def end(self, number: signal.Signals) -> None:
        """Send a signal that ends it, and wait until it has ended."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=PATIENCE_SECONDS)
            self.process = None

    def ask(self, path: str) -> dict[str, object]:
        """Ask its monitor.

        Raises:
            OSError: it doesn't answer.
        """
        url = f"http://127.0.0.1:{self.instance.monitor_port}{path}"
        with urllib.request.urlopen(url, timeout=2) as answer:
            return dict(json.load(answer))

    def is_healthy(self) -> bool:
        """Return whether it has caught up with all streams and durables that it keeps."""
        try:
            return self.ask("/healthz").get("status") == "ok"
        except (OSError, ValueError):
            return False


@dataclass
class Leaders:
    """Leaders of streams and durables, as one node sees them; empty where there is none."""

    meta: str = ""
    streams: dict[str, str] = field(default_factory=dict)
    durables: dict[str, str] = field(default_factory=dict)
    """By stream and name, with a slash between."""


@dataclass
class Cluster:
    """The servers, and requests to them together."""

    nodes: list[Node]

    @property
    def url(self) -> str:
        """All addresses, with the operator's login in the first."""
        first, *others = self.nodes
        rest = [f"nats://127.0.0.1:{node.instance.port}" for node in others]
        return ",".join([first.instance.url, *rest])

    def node(self, name: str) -> Node | None:
        """Return the node of a name, if there is one."""
        return next((node for node in self.nodes if node.name == name), None)

    def is_ready(self) -> bool:
        """Return whether all nodes are there and one of them leads."""
        return all(node.is_healthy() for node in self.nodes) and bool(self.leaders().meta)

    def leaders(self) -> Leaders:
        """Return the leaders, as the first node that runs sees them.

        Raises:
            OSError: no node answers.
        """
        node = next((node for node in self.nodes if node.is_running), None)
        if node is None:
            raise OSError("no node runs")
        told = node.ask("/jsz?streams=true&consumers=true&accounts=true&leader_only=false")
        return _leaders_in(told)


def _leaders_in(told: Mapping[str, object]) -> Leaders:
    meta = told.get("meta_cluster")
    found = Leaders(meta=str(meta.get("leader", "")) if isinstance(meta, dict) else "")
    accounts = told.get("account_details")
    for account in accounts if isinstance(accounts, list) else []:
        for stream in account.get("stream_detail") or []:
            cluster = stream.get("cluster") or {}
            found.streams[stream["name"]] = cluster.get("leader", "")
            for durable in stream.get("consumer_detail") or []:
                key = f"{stream['name']}/{durable['name']}"
                found.durables[key] = (durable.get("cluster") or {}).get("leader", "")
    return found


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Run the servers during the block."""
    ports = [free_port() for _ in range(NODES)]
    passwords = {user.name: secrets.token_hex(8) for user in broker_users()}
    nodes = [
        Node(
            ClusterInstance(
                directory=folder / f"nats-{number}",
                name=f"nats-{number}",
                port=free_port(),
                monitor_port=free_port(),
                passwords=passwords,
                cluster_port=port,
                routes=tuple(f"nats://127.0.0.1:{other}" for other in ports if other != port),
            )
        )
        for number, port in enumerate(ports)
    ]
    cluster = Cluster(nodes)
    try:
        for node in nodes:
            node.start()
        wait_until(cluster.is_ready, what="the cluster is ready", timeout_seconds=_READY_SECONDS)
        yield cluster
    finally:
        for node in nodes:
            node.end(signal.SIGKILL)


__all__ = ["NODES", "Cluster", "Leaders", "Node", "running_cluster"]
