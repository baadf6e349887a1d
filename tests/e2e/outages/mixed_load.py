"""Traffic of a run: starts of many kinds, signals, cancels and repetitions, and their answers."""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
from noetl_testkit.oracles.effects import Ledger
from noetl_testkit.oracles.starts import Starts

HEAD = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: {0}, path: chaos/{0}}}
workload: {{token: ""}}
workflow:
"""
WEIGHTS: Mapping[str, int] = {
    "chain": 4,
    "noops": 3,
    "join": 2,
    "loops": 2,
    "family": 2,
    "waiting": 2,
    "sleeping": 1,
    "retried": 2,
    "calls": 2,
    "failing": 1,
    "cancelled": 2,
}
"""How often each playbook is started, of all."""
ENDS: Mapping[str, frozenset[str]] = {
    "failing": frozenset({"FAILED"}),
    # It may have ended before its cancel came.
    "cancelled": frozenset({"CANCELLED", "COMPLETED"}),
}
_COMPLETED = frozenset({"COMPLETED"})
_AGAIN_SECONDS = 0.5
_GIVE_UP_SECONDS = 120.0
_NAP = "time.sleep(0.05)"


def _steps(more: str, *steps: tuple[str, ...]) -> str:
    """Return steps of names, tools and further keys, each leading to the next unless it says where.

    `more` is a key of every step whose tool notes its run.
    """
    lines = []
    for (name, tool, *keys), after in zip(steps, [*steps[1:], None], strict=True):
        lines.append(f"  - step: {name}\n    tool: {tool}")
        lines += [f"    {key}" for key in keys]
        if more and '"run"' in tool:
            lines.append(f"    {more}")
        if after is not None and not any(key.startswith("next:") for key in keys):
            lines.append(f"    next: {{arcs: [{{step: {after[0]}}}]}}")
    return "\n".join(lines) + "\n"


def playbooks(ledger: Ledger, *, more: str = "") -> dict[str, str]:
    """Return the steps of the playbooks by name.

    Args:
        ledger: that their tools note their runs in.
        more: a key of every step that does, such as ``spec: {repeatable: false}``.
    """

    def script(step: str, *saw: str, tries: int = 1) -> str:
        return ledger.script(step, saw=saw, work=_NAP, tries=tries)

    names = ["start", *(f"s{number}" for number in range(1, 12))]
    chain = [(name, script(name, *names[max(0, at - 2) : at])) for at, name in enumerate(names[:7])]
    loop = 'loop: {in: "{{ range(%d) }}", iterator: n, spec: {mode: %s}}'
    arcs = "next: {spec: {mode: inclusive}, arcs: [{step: a}, {step: b}, {step: c}]}"
    first, last = ("start", script("start")), ("last", script("last", "start"))
    kinds: dict[str, list[tuple[str, ...]]] = {
        "child": [first, ("end", script("end", "start"))],
        "chain": chain,
        # Each outcome is answered with the command behind it, which is what faults can mislay.
        "noops": [("start", "{kind: noop}"), *((f"n{one}", "{kind: noop}") for one in range(19))],
        "join": [
            (*first, arcs),
            *((one, script(one, "start"), "next: {arcs: [{step: last}]}") for one in "abc"),
            ("last", script("last", "a", "b", "c")),
        ],
        "loops": [
            first,
            ("fan", script("fan", "start"), loop % (6, "parallel")),
            ("row", script("row"), loop % (3, "sequential")),
            ("last", script("last", "fan", "row")),
        ],
        "family": [first, ("kid", "{kind: playbook, path: chaos/child, return_step: end}"), last],
        "waiting": [first, ("asked", "{kind: wait, signal: go, timeout: 1h}"), last],
        "sleeping": [first, ("nap", "{kind: sleep, duration: 2s}"), last],
        "retried": [("start", script("start", tries=1 if more else 2)), last],
        "calls": [
            ("start", ledger.call("start")),
            ("next", ledger.call("next", saw=["start"])),
            ("last", ledger.call("last", saw=["start", "next"])),
        ],
        "failing": [first, ("broken", "{kind: http, url: 'http://127.0.0.1:9/nothing'}")],
        "cancelled": [(name, ledger.script(name, work="time.sleep(0.2)")) for name in names],
    }
    return {name: _steps(more, *steps) for name, steps in kinds.items()}


@dataclass
class Traffic:
    """Starts at a steady rate, and what belongs to each.

    Attributes:
        url: of the edge.
        rate: starts a second.
        chance: of the choices, seeded.
        weights: how often each playbook is started, of all.
        starts: answers to starts.
        paths: playbooks of accepted executions.
        cancelled: Unix times of the answers to cancels.
        slowest: seconds of the slowest start that was accepted.
        troubles: requests other than starts that were never answered well.
    """

    url: str
    rate: float
    chance: random.Random
    weights: Mapping[str, int] = field(default_factory=lambda: WEIGHTS)
    starts: Starts = field(default_factory=Starts)
    paths: dict[int, str] = field(default_factory=dict)
    cancelled: dict[int, float] = field(default_factory=dict)
    slowest: float = 0.0
    troubles: list[str] = field(default_factory=list)
    is_over: bool = False
    moments: list[float] = field(default_factory=list)
    """Unix times of accepted starts."""

    async def run(self) -> None:
        """Go on until it is over, and until everything that belongs to a start is done."""
        limits = httpx.Limits(max_connections=500)
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=40, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            number = 0
            names, weights = list(self.weights), list(self.weights.values())
            while not self.is_over:
                number += 1
                (name,) = self.chance.choices(names, weights)
                group.create_task(self._one(client, name, f"t{number}"))
                await asyncio.sleep(self.chance.expovariate(self.rate))

    async def _one(self, client: httpx.AsyncClient, name: str, token: str) -> None:
        # Only who knows the id can send the signal. A start without a key that the stream has kept
        # may begin after the edge, and with it the answer, is gone: it would wait for an hour.
        is_keyed = self.chance.random() < 0.5 or name == "waiting"
        is_sent_again = self.chance.random() < 0.2
        pause = self.chance.uniform(0.1, 1.5)
        execution_id = await self._start(client, name, token, is_keyed=is_keyed)
        if execution_id is None:
            return
        if is_keyed and is_sent_again:
            await self._start(client, name, token, is_keyed=True)
        if name == "waiting":
            await asyncio.sleep(pause)
            path = f"/api/executions/{execution_id}/signals/go"
            await self._until_done(client, path, {"id": token}, {200})
        elif name == "cancelled":
            await asyncio.sleep(pause)
            path = f"/api/executions/{execution_id}/cancel"
            # 422 says that it has ended, by this cancel before or by itself.
            answer = await self._until_done(client, path, {}, {200, 422})
            if answer is not None and answer.status_code == 200:
                self.cancelled[execution_id] = time.time()

    async def _start(
        self, client: httpx.AsyncClient, name: str, token: str, *, is_keyed: bool
    ) -> int | None:
        body = {"path": f"chaos/{name}", "workload": {"token": token}}
        headers = {"Idempotency-Key": f"key-{token}"} if is_keyed else {}
        give_up = time.monotonic() + _GIVE_UP_SECONDS
        may_have_begun = False
        while True:
            begun = time.monotonic()
            try:
                answer = await client.post("/api/execute", json=body, headers=headers)
            except httpx.HTTPError as error:
                reason = type(error).__name__
                # Without a connection nothing was sent.
                may_have_begun |= not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            else:
                if answer.status_code == 200:
                    execution_id = int(answer.json()["execution_id"])
                    self.starts.accept(token, execution_id)
                    self.paths[execution_id] = name
                    self.slowest = max(self.slowest, time.monotonic() - begun)
                    self.moments.append(time.time())
                    return execution_id
                reason = str(answer.status_code)
                may_have_begun |= answer.status_code != 503
            self.starts.refuse(token, reason, may_have_begun=may_have_begun)
            if not is_keyed or time.monotonic() > give_up:
                return None
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _until_done(
        self, client: httpx.AsyncClient, path: str, body: dict[str, str], wanted: set[int]
    ) -> httpx.Response | None:
        reason = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                while True:
                    try:
                        answer = await client.post(path, json=body)
                    except httpx.HTTPError as error:
                        reason = type(error).__name__
                    else:
                        if answer.status_code in wanted:
                            return answer
                        reason = f"{answer.status_code} {answer.text[:200]}"
                    await asyncio.sleep(_AGAIN_SECONDS)
        self.troubles.append(f"{path}: {reason}")
        return None

    def wrong(self, statuses: Mapping[int, str]) -> list[str]:
        """Return executions that ended otherwise than their playbook says, and troubles."""
        found = [
            f"{one} of {name} is {statuses[one]}"
            for one, name in self.paths.items()
            if one in statuses
            and statuses[one] != "RUNNING"
            and statuses[one] not in ENDS.get(name, _COMPLETED)
        ]
        return found + self.troubles


__all__ = ["HEAD", "WEIGHTS", "Traffic", "playbooks"]
