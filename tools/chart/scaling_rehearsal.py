"""Scale a pool from none and back, as its ScaledObject says, under commands that take long.

    make chart-scale

Real worker processes with the variables of their pod are started and told to stop by the sums of
`autoscaler`, from numbers that are read as KEDA reads them. All times of the autoscaler are
shortened, so that it shrinks while commands run. What is shown: nobody is needed to begin, each
command runs once, whoever is stopped ends in good order, and the pool is empty at the end. What is
not: how long a pod takes to start, and how a cluster chooses whom it stops.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from autoscaler import Autoscaler
from manifests import Document, Pod, name_of
from rehearsal import Cluster, ask, deployments, install, servers, start_commands, value_of

_FASTER = 60.0
_SLOTS = 4
_MOST = 6
_PATIENCE_SECONDS = 300.0
_POOL = "noetl-worker-shared"
_VALUES = {
    "worker": {
        "maxConcurrent": _SLOTS,
        "graceSeconds": 120,
        "autoscaling": {"minReplicas": 0, "maxReplicas": _MOST},
    }
}
_HELD = (
    "SELECT execution_id, holds, attempt, extract(epoch FROM created_at),"
    " extract(epoch FROM completed_at) FROM noetl.command"
)


@dataclass
class Workers:
    """The processes of the pool.

    Attributes:
        cluster: where they run.
        pod: what each is told.
        running: by name; those that were not told to stop.
        stopping: those that were.
        made: how many there have been.
    """

    cluster: Cluster
    pod: Pod
    running: list[str] = field(default_factory=list)
    stopping: list[str] = field(default_factory=list)
    made: int = 0

    def become(self, count: int, *, rng: random.Random) -> None:
        """Start processes, or tell some to stop, whichever they are."""
        while len(self.running) < count:
            self.made += 1
            name = f"{_POOL}-{self.made}"
            self.cluster.start(self.pod, name)
            self.running.append(name)
        while len(self.running) > count:
            name = self.running.pop(rng.randrange(len(self.running)))
            self.cluster.processes[name].send_signal(signal.SIGTERM)
            self.stopping.append(name)

    def check(self) -> int:
        """Return how many are stopping still.

        Raises:
            RuntimeError: one ended that was not told to, or not in good order.
        """
        for name in self.running:
            if self.cluster.processes[name].poll() is not None:
                raise RuntimeError(f"{name} ended by itself")
        for name in list(self.stopping):
            code = self.cluster.processes[name].poll()
            if code is not None:
                self.stopping.remove(name)
            if code not in {None, 0}:
                raise RuntimeError(f"{name} ended with {code}")
        return len(self.stopping)


def rehearse(cluster: Cluster, *, commands: int, seconds: int) -> Iterator[str]:
    """Install without workers, start commands, scale until all is over; tell of it."""
    pods = deployments(cluster)
    (pool,) = (one for one in pods if name_of(one.owner) == _POOL)
    yield from install(cluster, [one for one in pods if one is not pool])
    (scaled,) = (one for one in cluster.manifests.of("ScaledObject") if name_of(one) == _POOL)
    workers = Workers(cluster, pool)
    began = time.monotonic()
    ids = start_commands(cluster, commands, seconds=seconds)
    for line in _scale(cluster, scaled, workers):
        yield f"{time.monotonic() - began:5.1f} s: {line}"
    yield from _judge(cluster, ids)


def _scale(cluster: Cluster, scaled: Document, workers: Workers) -> Iterator[str]:
    """Look and act until the pool has been there and is empty."""
    scaler = Autoscaler.of(scaled, faster=_FASTER)
    rng = random.Random(1)  # noqa: S311 (whom a cluster stops is nobody's secret)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        values = {one["name"]: _read(cluster, one) for one in scaled["spec"]["triggers"]}
        current = len(workers.running)
        wanted = scaler.look(values, current=current, now=time.monotonic())
        stopping = workers.check()
        if wanted != current:
            workers.become(wanted, rng=rng)
            yield f"{_told(values)}: {current} -> {wanted}, {stopping} stopping before"
        if workers.made and not workers.running and not workers.check():
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"the pool is not empty: {_told(values)}, {current} processes")
        time.sleep(scaler.sync)


def _read(cluster: Cluster, trigger: Document) -> float | None:
    try:
        return value_of(cluster, trigger)
    except (LookupError, OSError):
        # The durable is made by the first worker.
        return None


def _told(values: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {'?' if one is None else f'{one:g}'}" for name, one in values.items())


def _judge(cluster: Cluster, ids: list[str]) -> Iterator[str]:
    """Tell how often commands were held and how executions ended.

    Raises:
        RuntimeError: a command was lost or ran twice, or an execution did not complete.
    """
    held: dict[str, list[str]] = {}
    for shard in range(2):
        rows = cluster.database_named(f"noetl_{shard}").run(_HELD)
        held |= {row.split("|")[0]: row.split("|")[1:] for row in rows.splitlines()}
    token = cluster.secrets["noetl-internal-api-token"]["internal-api-token"]
    statuses = [
        json.loads(ask(f"{cluster.edge}/api/executions/{one}/status", token=token))["status"]
        for one in ids
    ]
    if set(statuses) != {"COMPLETED"} or [held[one][:2] for one in ids] != [["1", "1"]] * len(ids):
        raise RuntimeError(f"{statuses}, {held}")
    yield f"{len(ids)} executions completed, each command held once, at its first attempt"
    times = [held[one][2:] for one in ids]
    took = max(float(end) for _, end in times) - min(float(start) for start, _ in times)
    yield f"from the first command to the last end: {took:.1f} s"


def main() -> int:
    """Rehearse and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=40)
    parser.add_argument("--seconds", type=int, default=12, help="of each command")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder), _VALUES) as cluster:
        for line in rehearse(cluster, commands=given.commands, seconds=given.seconds):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
