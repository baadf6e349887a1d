"""Scale the Deployments that the chart scales, by its manifests, under load and back.

    make chart-scale

Real processes with the variables of their pods are started and stopped by the sums of
`autoscaler`, from numbers that are read as KEDA and Kubernetes read them. All times of the
autoscaler are shortened, so that it shrinks while there is work. What is shown: who may be none is
woken by the first piece of work, no work is lost or done twice, whoever is stopped ends in good
order, and the number is the least one at the end. What is not: how long a pod takes to start, how
a Service spreads requests, and how a cluster chooses whom it stops.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from autoscaler import Autoscaler
from consumers import CONSUMERS, Consumer
from manifests import Document, Pod, name_of, scaler_targets
from noetl_testkit.waiting import wait_until
from rehearsal import Cluster, deployments, install, servers, value_of

_TIMEOUT_SECONDS = 300.0


@dataclass
class Processes:
    """The processes of a Deployment.

    Attributes:
        cluster: where they run.
        pod: the manifest of each.
        running: by name; those that got no SIGTERM.
        stopping: those that were.
        ready: those of the first that were ready at the last look at their processor time.
        made: how many there have been.
    """

    cluster: Cluster
    pod: Pod
    running: list[str] = field(default_factory=list)
    stopping: list[str] = field(default_factory=list)
    ready: list[str] = field(default_factory=list)
    made: int = 0

    def become(self, count: int, *, rng: random.Random) -> None:
        """Start processes, or stop some at random with SIGTERM."""
        service = name_of(self.pod.owner)
        while len(self.running) < count:
            self.made += 1
            name = f"{service}-{self.made}"
            self.cluster.start(self.pod, name)
            self.running.append(name)
        while len(self.running) > count:
            name = self.running.pop(rng.randrange(len(self.running)))
            self.cluster.processes[name].send_signal(signal.SIGTERM)
            self.stopping.append(name)
        if self.running:
            # The Service's address leads to one of them.
            self.cluster.ports[service] = self.cluster.ports[self.running[0]]

    def check(self) -> int:
        """Return how many are stopping still.

        Raises:
            RuntimeError: one ended without SIGTERM, or not in good order.
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


def rehearse(cluster: Cluster, consumer: Consumer) -> Iterator[str]:
    """Install all but one Deployment, put it under load, scale until all is over; report it."""
    pods = deployments(cluster)
    (pod,) = (one for one in pods if name_of(one.owner) == consumer.deployment)
    (scaled,) = (
        one for one, target in scaler_targets(cluster.manifests) if target == consumer.deployment
    )
    scaler = Autoscaler.of(scaled, pod=pod, faster=consumer.faster)
    processes = Processes(cluster, pod)
    rng = random.Random(1)  # noqa: S311 (whom a cluster stops is nobody's secret)
    # Who may not be none is there before the first look.
    begin = partial(processes.become, scaler.least, rng=rng)
    yield from install(cluster, [one for one in pods if one is not pod], also=begin)
    wait_until(
        lambda: all(cluster.answers(pod, name) for name in processes.running),
        what="those that may not be none are ready",
        timeout_seconds=60,
        every_seconds=0.1,
    )
    read = _reader(cluster, scaled, processes)
    read()
    began = time.monotonic()
    with consumer.load(cluster, processes.ready) as load:
        for line in _scale(processes, scaler, read, load.is_over, rng=rng):
            yield f"{time.monotonic() - began:5.1f} s: {line}"
        yield from load.judge(cluster)


def _scale(
    processes: Processes,
    scaler: Autoscaler,
    read: Callable[[], dict[str, float | None]],
    is_over: Callable[[], bool],
    *,
    rng: random.Random,
) -> Iterator[str]:
    """Look and act until the load is over and the number is the least again."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    most = 0
    while True:
        values = read()
        current = len(processes.running)
        wanted = scaler.look(values, current=current, now=time.monotonic())
        stopping = processes.check()
        if wanted != current:
            processes.become(wanted, rng=rng)
            yield f"{_shown(values)}: {current} -> {wanted}, {stopping} stopping before"
        most = max(most, wanted)
        is_back = most > scaler.least and len(processes.running) == scaler.least
        if is_back and is_over() and not processes.check():
            return
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"it is not back: {_shown(values)}, {current} processes, {most} most"
            )
        time.sleep(scaler.sync)


def _reader(
    cluster: Cluster, scaled: Document, processes: Processes
) -> Callable[[], dict[str, float | None]]:
    """Return the function that reads the numbers of an autoscaler."""
    usage = ProcessorTime(cluster, processes)
    if scaled["kind"] == "HorizontalPodAutoscaler":
        return lambda: {"cpu": usage.read()}
    triggers = scaled["spec"]["triggers"]
    return lambda: {
        one["name"]: usage.read() if one["type"] == "cpu" else _read(cluster, one)
        for one in triggers
    }


def _read(cluster: Cluster, trigger: Document) -> float | None:
    try:
        return value_of(cluster, trigger)
    except (LookupError, OSError):
        # The durable is made by the first worker; nobody answers for processes that aren't there.
        return None


class ProcessorTime:
    """The cores that processes use, of those that were ready at the last look and at this one.

    What a process uses to begin is left out, as Kubernetes does.
    """

    def __init__(self, cluster: Cluster, processes: Processes) -> None:
        self._cluster = cluster
        self._processes = processes
        self._before: dict[str, float] = {}
        self._at = time.monotonic()

    def read(self) -> float:
        """Return the cores used since the last look."""
        now = time.monotonic()
        pod, running = self._processes.pod, self._processes.running
        self._processes.ready[:] = [one for one in running if self._cluster.answers(pod, one)]
        used = {
            name: _cpu_seconds(self._cluster.processes[name].pid) for name in self._processes.ready
        }
        seconds, self._at = now - self._at, now
        spent = sum(used[name] - self._before[name] for name in used if name in self._before)
        self._before = used
        return spent / seconds if seconds else 0.0


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _shown(values: Mapping[str, float | None]) -> str:
    return ", ".join(
        f"{name} {'?' if one is None else f'{one:.3g}'}" for name, one in values.items()
    )


@contextmanager
def release(values: Mapping[str, Any]) -> Iterator[Cluster]:
    """Run the servers of a release in a folder that goes with them."""
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder), values) as cluster:
        yield cluster


def main() -> int:
    """Rehearse and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=40, help="of the pool")
    parser.add_argument("--seconds", type=int, default=12, help="of each command")
    parser.add_argument("--of", default=",".join(CONSUMERS), help="whom, with commas between")
    given = parser.parse_args()
    for name in given.of.split(","):
        consumer = CONSUMERS[name](given.commands, given.seconds)
        sys.stdout.write(f"{consumer.deployment}:\n")
        with release(consumer.values) as cluster:
            for line in rehearse(cluster, consumer):
                sys.stdout.write(f"  {line}\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
