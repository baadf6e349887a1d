"""Three brokers under load, and the death of the leader: ``make cluster``.

Real NATS servers with every stream on all three, a whole stack on them, starts at a steady rate. In
each round the node is killed with SIGKILL that leads the ingress stream, or the cluster's metadata,
or a random one; the others go on, and it comes back and catches up. Ends with 0 when every start
that was accepted ran to its end once, no start made two executions, and none was kept waiting
for longer than the limit. Prints how long nobody was accepted, beside how long the brokers took
to agree on a new leader.
"""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx
from cluster import NODES, Cluster, Node, running_cluster
from noetl_contract.streams import INGRESS
from noetl_testkit.oracles.effects import Ledger, counting
from noetl_testkit.oracles.judging import check_digests, judge
from noetl_testkit.oracles.starts import Starts
from noetl_testkit.stack import Stack, add_ingress, each_ingress, register
from noetl_testkit.waiting import eventually, wait_for
from scenarios import ACK_WAIT_SECONDS

PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: cluster, path: cluster/two}}
workload: {{token: ""}}
workflow:
  - step: start
    tool: {{kind: noop}}
    next: {{arcs: [{{step: last}}]}}
  - step: last
    tool: {last}
"""
_SETTLE_SECONDS = 120
_AROUND_SECONDS = 12.0
_WARM = 40
_SHOWN = 120


@dataclass
class Load:
    """Starts at a steady rate, each with a number of its own."""

    url: str
    rate: float
    starts: Starts = field(default_factory=Starts)
    moments: list[float] = field(default_factory=list)
    """Times of the answers that a start was accepted."""
    slowest: float = 0.0
    is_over: bool = False
    sent: int = 0

    async def run(self) -> None:
        """Start executions until stopped."""
        limits = httpx.Limits(max_connections=500)
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=40, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            while not self.is_over:
                self.sent += 1
                group.create_task(self._start(client, str(self.sent)))
                await asyncio.sleep(1 / self.rate)

    async def _start(self, client: httpx.AsyncClient, token: str) -> None:
        body = {"path": "cluster/two", "workload": {"token": token}}
        begun = time.monotonic()
        try:
            answer = await client.post("/api/execute", json=body)
        except httpx.HTTPError as error:
            self.starts.refuse(token, type(error).__name__, may_have_begun=True)
            return
        if answer.status_code != 200:
            reason = f"{answer.status_code} {answer.text[:_SHOWN]}"
            self.starts.refuse(token, reason, may_have_begun=answer.status_code != 503)
            return
        now = time.monotonic()
        self.starts.accept(token, int(answer.json()["execution_id"]))
        self.moments.append(now)
        self.slowest = max(self.slowest, now - begun)

    def gap(self, since: float, until: float) -> float:
        """Return the longest time without an accepted start in a window, in seconds."""
        inside = sorted(one for one in self.moments if since <= one <= until)
        return max(later - earlier for earlier, later in pairwise([since, *inside, until]))


@dataclass
class Round:
    """Effects of a kill."""

    target: str
    node: str
    gap: float
    """Longest time without an accepted start."""
    election: float
    """Until the ingress stream, its durables and the metadata were led by others."""
    caught_up: float
    """From the start of the killed node until it had everything."""


def victim(cluster: Cluster, target: str) -> Node | None:
    """Return the node that a target names; None while it has no leader, as after a kill."""
    leaders = cluster.leaders()
    match target:
        case "ingress":
            return cluster.node(leaders.streams.get(INGRESS.name, ""))
        case "meta":
            return cluster.node(leaders.meta)
        case _:
            return random.choice(cluster.nodes)


async def strike(cluster: Cluster, load: Load, target: str) -> Round:
    """Kill a node, wait for the new leaders, bring it back."""
    node = await asyncio.to_thread(
        wait_for, lambda: victim(cluster, target), what=f"{target} has a leader"
    )
    moment = time.monotonic()
    node.end(signal.SIGKILL)

    def is_led() -> bool:
        try:
            now = cluster.leaders()
        except (OSError, ValueError):
            return False
        led = [now.meta, now.streams.get(INGRESS.name, "")]
        led += [who for key, who in now.durables.items() if key.startswith(f"{INGRESS.name}/")]
        return all(who and who != node.name for who in led)

    await eventually(lambda: asyncio.to_thread(is_led), what="others lead", every_seconds=0.1)
    election = time.monotonic() - moment
    enough = len(load.moments) + _WARM
    await eventually(
        lambda: len(load.moments) >= enough and time.monotonic() > moment + _AROUND_SECONDS,
        what="starts are accepted again",
    )
    gap = load.gap(moment, time.monotonic())
    begun = time.monotonic()
    node.start()
    await eventually(
        lambda: asyncio.to_thread(_has_caught_up, cluster),
        what=f"{node.name} has caught up",
        every_seconds=0.1,
    )
    return Round(target, node.name, gap, election, time.monotonic() - begun)


def _has_caught_up(cluster: Cluster) -> bool:
    try:
        return cluster.is_ready()
    except (OSError, ValueError):
        return False


async def prove(stack: Stack, cluster: Cluster, ledger: Ledger, options: argparse.Namespace) -> int:
    """Go through all rounds; return the exit code."""
    with stack.client() as client:
        register(client, PLAYBOOK.format(last=ledger.script("last")))
    load = Load(stack.url, options.rate)
    loading = asyncio.create_task(load.run())
    await eventually(lambda: len(load.moments) >= _WARM, what="the load runs")
    rounds: list[Round] = []
    for target in options.targets.split(",") * options.rounds:
        await eventually(
            lambda: asyncio.to_thread(_has_caught_up, cluster),
            what="all is led",
        )
        rounds.append(await strike(cluster, load, target))
        now = rounds[-1]
        print(
            f"killed {now.node} ({now.target}): nothing accepted for {now.gap:.2f} s, new leaders "
            f"after {now.election:.2f} s, caught up {now.caught_up:.2f} s after its start",
            flush=True,
        )
    load.is_over = True
    await loading

    # An answer that a killed node had not passed on lets its worker's notification come again.
    findings = await judge(
        stack.dsn(),
        starts=load.starts,
        effects=ledger.effects,
        may_repeat=True,
        stall_limit=options.limit + ACK_WAIT_SECONDS,
        settle_seconds=_SETTLE_SECONDS,
    )
    check_digests(findings, data=stack.data)
    problems = findings.problems
    if set(findings.statuses) != {"COMPLETED"}:
        problems.append(f"statuses {findings.statuses}")
    longest = max(one.gap for one in rounds)
    print(
        f"accepted {len(load.moments)} of {load.sent}, refused {dict(load.starts.unknown)}; "
        f"slowest answer {load.slowest:.2f} s; {findings.line()}"
    )
    print(f"longest gap {longest:.2f} s, longest election {max(r.election for r in rounds):.2f} s")
    if longest > options.limit:
        problems.append(f"nothing was accepted for {longest:.2f} s, at most {options.limit:g}")
    for problem in problems[:50]:
        print(f"PROBLEM {problem}")
    print("OK" if not problems else f"FAILED: {len(problems)} problems")
    return 1 if problems else 0


def main() -> int:
    """Prove it; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", default="ingress,meta,any")
    parser.add_argument("--rounds", type=int, default=2, help="of all targets")
    parser.add_argument("--rate", type=float, default=20.0, help="starts a second")
    parser.add_argument(
        "--limit", type=float, default=5.0, help="seconds without an accepted start"
    )
    parser.add_argument("--keep", action="store_true", help="keep the data")
    add_ingress(parser)
    options = parser.parse_args()
    codes = []
    for ingress in each_ingress(options.ingress):
        print(f"ingress {ingress}", flush=True)
        codes.append(_prove_here(options))
    return max(codes)


def _prove_here(options: argparse.Namespace) -> int:
    folder = Path(tempfile.mkdtemp(prefix="noetl-cluster-"))
    try:
        with running_cluster(folder) as cluster:
            stack = Stack(
                folder / "data",
                environment={
                    "NOETL_NATS_URL": cluster.url,
                    "NOETL_NATS_STREAM_REPLICAS": str(NODES),
                },
            )
            stack.scratch.mkdir()
            stack.up()
            try:
                with counting(stack.scratch / "effects") as ledger:
                    return asyncio.run(prove(stack, cluster, ledger, options))
            finally:
                stack.down()
    finally:
        if options.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
