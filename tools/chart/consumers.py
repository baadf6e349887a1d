"""Deployments that the chart scales: values that make it short, a load, and a check of it."""

import json
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from noetl_testkit.waiting import wait_until
from rehearsal import Cluster, ask, register, start_commands

_SHARDS = 2
_LOADED_SECONDS = 8.0
_QUIET_SECONDS = 12.0
_PAUSE_SECONDS = 0.2
_CLIENTS = 4
_HELD = (
    "SELECT execution_id, holds, attempt, extract(epoch FROM created_at),"
    " extract(epoch FROM completed_at) FROM noetl.command"
)
_BEHIND = (
    "SELECT count(*) FROM noetl.execution_state AS s"
    " LEFT JOIN noetl.execution AS e USING (execution_id)"
    " WHERE e.position IS DISTINCT FROM s.position"
)
_ENDED = "SELECT count(*) FROM noetl.execution_state WHERE status = 'COMPLETED'"
_UNPUBLISHED = "SELECT count(*) FROM noetl.outbox WHERE status <> 'PUBLISHED'"
_COMMITS = "SELECT count(DISTINCT (execution_id, xmin::TEXT)) FROM noetl.event"
_QUICK = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: quick, path: rehearsal/quick}
workflow:
  - {step: start, tool: {kind: noop}, next: [{step: second}]}
  - {step: second, tool: {kind: noop}, next: [{step: third}]}
  - {step: third, tool: {kind: noop}}
"""


class Load(Protocol):
    """Work that goes on while processes come and go."""

    def is_over(self) -> bool:
        """Return whether no more is coming."""
        ...

    def judge(self, cluster: Cluster) -> Iterator[str]:
        """Report the results of the load.

        Raises:
            RuntimeError: some was lost, refused or done twice.
        """
        ...


@dataclass(frozen=True)
class Consumer:
    """One of those that are scaled.

    Attributes:
        deployment: its name.
        values: of the chart, small enough for a rehearsal.
        load: begins the work; it is given the names of those that are ready, where they count.
        faster: by how much the times of its autoscaler are divided.
    """

    deployment: str
    values: Mapping[str, Any]
    load: Callable[[Cluster, Sequence[str]], AbstractContextManager[Load]]
    faster: float = 60.0


@dataclass
class Commands:
    """Commands that take long, for a pool."""

    ids: list[str]

    def is_over(self) -> bool:
        """All were started before."""
        return True

    def judge(self, cluster: Cluster) -> Iterator[str]:
        """Report how often commands were held and how executions ended."""
        held: dict[str, list[str]] = {}
        for row in _rows(cluster, _HELD):
            held[row[0]] = row[1:]
        token = cluster.secrets["noetl-internal-api-token"]["internal-api-token"]
        statuses = {
            json.loads(ask(f"{cluster.edge}/api/executions/{one}/status", token=token))["status"]
            for one in self.ids
        }
        if statuses != {"COMPLETED"} or any(held[one][:2] != ["1", "1"] for one in self.ids):
            raise RuntimeError(f"{statuses}, {held}")
        yield f"{len(self.ids)} executions completed, each command held once, at its first attempt"
        times = [held[one][2:] for one in self.ids]
        took = max(float(end) for _, end in times) - min(float(start) for start, _ in times)
        yield f"from the first command to the last end: {took:.1f} s"


@dataclass
class Starts:
    """Clients that start short executions, one after the other, at whichever edge runs.

    After a while all stop but one that takes its time: processes are stopped while there is work.

    Attributes:
        names: processes of the edge that are ready, where these are scaled.
        until: when that one stops, on the monotonic clock.
        started: ids that they were answered.
        refused: other answers that they got.
    """

    names: Sequence[str]
    until: float
    started: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def is_over(self) -> bool:
        """Return whether the clients have stopped."""
        return time.monotonic() > self.until

    def run(self, cluster: Cluster, *, is_last: bool) -> None:
        """Be a client."""
        busy_until = self.until - _QUIET_SECONDS
        while (is_busy := time.monotonic() < busy_until) or (is_last and not self.is_over()):
            self._start(cluster)
            if not is_busy:
                time.sleep(_PAUSE_SECONDS)

    def _start(self, cluster: Cluster) -> None:
        key = cluster.secrets["noetl-catalog"]["access-keys"].partition("=")[2]
        edges = list(self.names) or [EDGE]
        url = f"http://127.0.0.1:{cluster.ports[edges[len(self.started) % len(edges)]]}"
        try:
            answer = ask(f"{url}/api/execute", token=key, body={"path": "rehearsal/quick"})
            self.started.append(int(json.loads(answer)["execution_id"]))
        except OSError as error:
            said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
            self.refused.append(f"{error} {said}")

    def judge(self, cluster: Cluster) -> Iterator[str]:
        """Report how many were started and have ended."""
        if self.refused:
            raise RuntimeError(f"{len(self.refused)} refused: {self.refused[0]}")
        wait_until(
            lambda: _sum(cluster, _ENDED) == len(self.started),
            what="all executions have completed",
            timeout_seconds=60,
            every_seconds=0.2,
        )
        yield f"{len(self.started)} executions were started, none refused, and completed"


class Published(Starts):
    """The same, for those that publish."""

    def judge(self, cluster: Cluster) -> Iterator[str]:
        """Report whether each row is published, and how many commits the messages are about.

        One message may be about several commits of an execution that came in quick succession.
        """
        yield from super().judge(cluster)
        wait_until(
            lambda: _sum(cluster, _UNPUBLISHED) == 0,
            what="all rows are published",
            timeout_seconds=60,
            every_seconds=0.2,
        )
        commits, stored = _sum(cluster, _COMMITS), cluster.messages_of("noetl_commits")
        if not len(self.started) <= stored <= commits:
            raise RuntimeError(f"{commits} commits, {stored} messages of them")
        yield f"all rows are published; {stored} messages tell of {commits} commits"


class Shown(Starts):
    """The same, for projectors, which write the read model."""

    def judge(self, cluster: Cluster) -> Iterator[str]:
        """Report whether the read model is where the log is; no process is left to move it on."""
        yield from super().judge(cluster)
        if behind := _sum(cluster, _BEHIND):
            raise RuntimeError(f"{behind} executions of the read model are behind their log")
        yield "the read model is where the log is"


def _rows(cluster: Cluster, statement: str) -> Iterator[list[str]]:
    """Yield the rows of a statement of all shards."""
    for shard in range(_SHARDS):
        rows = cluster.database_named(f"noetl_{shard}").run(statement)
        yield from (row.split("|") for row in rows.splitlines())


def _sum(cluster: Cluster, statement: str) -> int:
    return sum(int(row[0]) for row in _rows(cluster, statement))


@contextmanager
def _commands(
    cluster: Cluster, _names: Sequence[str], *, count: int, seconds: int
) -> Iterator[Load]:
    yield Commands(start_commands(cluster, count, seconds=seconds))


@contextmanager
def _starts(
    cluster: Cluster, names: Sequence[str], *, kind: type[Starts], is_edge: bool = False
) -> Iterator[Load]:
    """Start executions from several clients at once."""
    register(cluster, _QUICK)
    until = time.monotonic() + _LOADED_SECONDS + _QUIET_SECONDS
    load = kind(names if is_edge else (), until)
    clients = [
        threading.Thread(target=load.run, args=(cluster,), kwargs={"is_last": number == 0})
        for number in range(_CLIENTS)
    ]
    for client in clients:
        client.start()
    try:
        yield load
    finally:
        for client in clients:
            client.join()


def pool(commands: int, seconds: int) -> Consumer:
    """The workers of a pool."""
    slots = 4
    scaling = {"minReplicas": 0, "maxReplicas": 6}
    return Consumer(
        "noetl-worker-shared",
        {"worker": {"maxConcurrent": slots, "graceSeconds": 120, "autoscaling": scaling}},
        partial(_commands, count=commands, seconds=seconds),
    )


def orchestrator(_commands: int, _seconds: int) -> Consumer:
    """The orchestrator of a shard, which shares its executions with the others."""
    scaling = {"minReplicas": 1, "maxReplicas": 3, "lagThreshold": 2}
    return Consumer(
        "noetl-orchestrator-s0",
        {"orchestrator": {"autoscaling": scaling, "env": {"NOETL_REPLICAS_ACTIVE_MIN": "3"}}},
        partial(_starts, kind=Starts),
    )


def outbox(_commands: int, _seconds: int) -> Consumer:
    """The relay of a shard; its number is its own, so there is one at least.

    Orchestrators publish what they commit, so what relays have to do is what one of them left.
    """
    scaling = {"minReplicas": 1, "maxReplicas": 2, "pendingThreshold": 3}
    # Rows are kept for the judgement.
    kept = {"NOETL_OUTBOX_RETENTION_SECONDS": "3600"}
    return Consumer(
        "noetl-outbox-s0",
        {
            "outboxPublisher": {"autoscaling": scaling, "env": kept},
            "orchestrator": {"env": {"NOETL_FAST_PATHS_OFF": "published-rows"}},
        },
        partial(_starts, kind=Published),
    )


def projector(_commands: int, _seconds: int) -> Consumer:
    """The projector of a shard; it answers reads too, so there is one at least."""
    scaling = {"minReplicas": 1, "maxReplicas": 3, "lagThreshold": 2}
    return Consumer(
        "noetl-projector-s0",
        {"projector": {"autoscaling": scaling}},
        partial(_starts, kind=Shown),
    )


def edge(_commands: int, _seconds: int) -> Consumer:
    """The edge, whose clients are given to whichever runs."""
    scaling = {"minReplicas": 2, "maxReplicas": 4}
    asked = {"requests": {"cpu": "60m"}}
    return Consumer(
        EDGE,
        {"server": {"autoscaling": scaling, "resources": asked}},
        partial(_starts, kind=Starts, is_edge=True),
        faster=20.0,
    )


def catalog(_commands: int, _seconds: int) -> Consumer:
    """The catalog, which is asked at each start."""
    scaling = {"minReplicas": 1, "maxReplicas": 4}
    asked = {"requests": {"cpu": "40m"}}
    return Consumer(
        "noetl-catalog",
        {"catalog": {"autoscaling": scaling, "resources": asked}},
        partial(_starts, kind=Starts),
        faster=20.0,
    )


EDGE = "noetl-api-gateway"
CONSUMERS: Mapping[str, Callable[[int, int], Consumer]] = {
    "worker": pool,
    "orchestrator": orchestrator,
    "outbox": outbox,
    "projector": projector,
    "api-gateway": edge,
    "catalog": catalog,
}
"""Makes each by its service, from the number of commands of a pool and their seconds."""
