"""A steady load of starts, reads and event streams, each request counted."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import orjson
from noetl_testkit.oracles.effects import Ledger

_PAUSE = "time.sleep(0.1)"
NAMES = ("chain", "long", "timer")


def playbooks(ledger: Ledger) -> dict[str, str]:
    """Return the steps of the playbooks by name; their scripts note their runs."""
    return {
        "chain": f"""
  - step: start
    tool: {ledger.script("start", work=_PAUSE)}
    next: {{arcs: [{{step: fan}}]}}
  - step: fan
    loop: {{in: "{{{{ range(3) }}}}", iterator: n, spec: {{mode: parallel}}}}
    tool: {ledger.script("fan", saw=["start"], work=_PAUSE)}
    next: {{arcs: [{{step: end}}]}}
  - step: end
    tool: {ledger.script("end", saw=["fan"])}
""",
        "long": f"""
  - step: start
    tool: {{kind: shell, command: sleep 4}}
    next: {{arcs: [{{step: end}}]}}
  - step: end
    tool: {ledger.script("end")}
""",
        "timer": """
  - step: start
    tool: {kind: sleep, duration: 2s}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
""",
    }


FINISHED = {"COMPLETED", "FAILED", "CANCELLED"}
_MOST_CUTS = 50


@dataclass
class Load:
    """Requests of clients, and the answers to them.

    Attributes:
        rate: starts a second.
        accepted: executions whose start was answered with 200, with their playbook.
        counts: requests by what they asked.
        failed: what went wrong, a line each.
        slowest: seconds of the slowest request, by what it asked.
        cuts: event streams that ended before their execution and were gone on with.
        last_answer, gap: when a request was last answered, and the longest time without an answer.
    """

    url: str
    rate: float
    accepted: dict[int, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=dict)
    cuts: int = 0
    stopping: bool = False
    statuses: Counter[str] = field(default_factory=Counter)
    last_answer: float = 0.0
    gap: float = 0.0

    async def run(self) -> None:
        """Go on until stopped; then until every execution has ended."""
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=40, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._read(client))
            while not self.stopping:
                group.create_task(self._one(client, random.choice(NAMES)))
                await asyncio.sleep(random.expovariate(self.rate))

    async def ask(
        self, client: httpx.AsyncClient, what: str, method: str, path: str, **more: object
    ) -> httpx.Response | None:
        """Send one request, count it, and return the answer; None when it failed."""
        began = time.monotonic()
        self.counts[what] += 1
        try:
            answer = await client.request(method, path, **more)
        except httpx.HTTPError as error:
            self._fail(what, f"{type(error).__name__} {error}", began)
            return None
        if answer.status_code >= 400:
            self._fail(what, f"{answer.status_code} {answer.text[:200]}", began)
            return None
        self._answered(what, began)
        return answer

    async def _one(self, client: httpx.AsyncClient, name: str) -> None:
        body = {"path": f"rolling/{name}"}
        answer = await self.ask(client, "start", "POST", "/api/execute", json=body)
        if answer is None:
            return
        execution_id = int(answer.json()["execution_id"])
        self.accepted[execution_id] = name
        if random.random() < 0.5:
            await self._stream(client, execution_id)
        while True:
            answer = await self.ask(
                client, "status", "GET", f"/api/executions/{execution_id}/status"
            )
            status = answer.json()["status"] if answer is not None else None
            if status in FINISHED:
                self.statuses[status] += 1
                return
            await asyncio.sleep(0.5)

    async def _read(self, client: httpx.AsyncClient) -> None:
        while not self.stopping:
            await self.ask(client, "list", "GET", "/api/executions?limit=20")
            if self.accepted:
                one = random.choice(list(self.accepted)[-50:])
                await self.ask(client, "detail", "GET", f"/api/executions/{one}")
            await asyncio.sleep(0.2)

    async def _stream(self, client: httpx.AsyncClient, execution_id: int) -> None:
        """Read an execution's events to its end, and go on where a stream was cut."""
        seen: list[int] = []
        pause = 0.0
        path = f"/api/executions/{execution_id}/events/stream"
        for _ in range(_MOST_CUTS):
            headers = {"last-event-id": str(seen[-1])} if seen else {}
            began = time.monotonic()
            self.counts["stream"] += 1
            try:
                async with client.stream("GET", path, headers=headers) as answer:
                    if answer.status_code >= 400:
                        self._fail("stream", str(answer.status_code), began)
                        return
                    self._answered("stream", began)
                    async for line in answer.aiter_lines():
                        if line.startswith("retry:"):
                            pause = int(line[6:]) / 1000
                        elif line.startswith("id:"):
                            seen.append(int(line[3:]))
                        elif line.startswith("data:") and _is_last(line[5:]):
                            if len(set(seen)) != len(seen):
                                self._fail("stream", f"{execution_id}: an event came twice", began)
                            return
            except httpx.ConnectError as error:
                self._fail("stream", f"{type(error).__name__} {error}", began)
                return
            except httpx.HTTPError:
                pass  # cut in the middle, as any stream may be
            self.cuts += 1
            await asyncio.sleep(pause)  # as a browser does
        self._fail("stream", f"{execution_id}: cut {_MOST_CUTS} times", time.monotonic())

    def _answered(self, what: str, began: float) -> None:
        now = time.monotonic()
        self.slowest[what] = max(self.slowest.get(what, 0.0), now - began)
        if self.last_answer:
            self.gap = max(self.gap, now - self.last_answer)
        self.last_answer = now

    def _fail(self, what: str, text: str, began: float) -> None:
        self.failed.append(
            f"{time.strftime('%X')} {what}: {text} after {time.monotonic() - began:.2f} s"
        )


def _is_last(data: str) -> bool:
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    kinds = {"playbook.completed", "playbook.failed", "playbook_completed", "playbook_failed"}
    return isinstance(event, dict) and event.get("event_type") in kinds
