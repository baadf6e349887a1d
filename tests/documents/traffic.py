"""The traffic of single executions: messages, rows and counters of a stack for them."""

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import asyncpg
import httpx
import nats
import orjson
from nats.aio.msg import Msg
from noetl_contract.ingress import AGAIN_HEADER, REPLY_HEADER
from noetl_contract.subjects import (
    COMMANDS_ROOT,
    COMMITS_ROOT,
    EVENTS_ROOT,
    INBOX_ROOT,
    INGRESS_ROOT,
    WRITES_ROOT,
)
from noetl_testkit.bus import flush
from noetl_testkit.stack import Stack, register
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_for
from readmes import root_of

ANSWERS = "answers"
COMMITS = "commits of the log"
ROWS = "rows of the outbox"
FOLLOWED = "commands with an answer"
METRICS = {
    "noetl_ingress_writes_total": "api-gateway",
    "noetl_orchestrator_commands_handed_total": "orchestrator",
}
"""Counters of the services, with whose they are; all label values together."""

POOLS = {"nats": "shared", "http": "over_http"}
"""Worker pools by the transport of their workers."""

_DELIVERY = "$JS.ACK."
_BROKER = re.compile(r"\$JS\.(?:API\.(?:INFO|(?:STREAM|CONSUMER)\.(?:MSG\.)?[A-Z]+)|ACK|EVENT)\b")
_MESSAGE_ID = "Nats-Msg-Id"
_TOOLS = {
    "quick": "{kind: noop}",
    "longer": '{kind: python, code: "import time; time.sleep(0.1); result = 1"}',
    # Too large for its notification.
    "large": f"{{kind: noop, message: {'x' * 70_000}}}",
}
_SHORT_SECONDS = 1.0
"""A worker takes commands with answers for so long, then one from the queue."""


def family_of(subject: str) -> str:
    """Return what a subject, or one that a page writes, is counted as.

    That is its root (`readmes.root_of`), of a request also its operation, and of a subject of the
    broker the request to it.

    Raises:
        ValueError: nobody sends there.
    """
    if subject.startswith("noetl_rpc."):
        _, service, place, operation = subject.split(".", 3)
        return f"noetl_rpc.{service}.{'cluster' if place == 'cluster' else '<shard>'}.{operation}"
    if subject.startswith(INBOX_ROOT):
        return INBOX_ROOT
    found = root_of(subject) or ((match := _BROKER.match(subject)) and match[0])
    if not found:
        raise ValueError(f"nobody sends to `{subject}`")
    return found


@dataclass(frozen=True)
class Seen:
    """One message, as the broker delivered it to a client that listens to everything."""

    at: float
    subject: str
    headers: dict[str, str]
    data: bytes

    @property
    def family(self) -> str:
        """Return the name under which it is counted."""
        return family_of(self.subject)

    @property
    def kind(self) -> str:
        """The last token of the subject: of a write, its kind."""
        return self.subject.rpartition(".")[2]


@dataclass(frozen=True)
class Count:
    """Counts of one execution of the playbook.

    Attributes:
        of: numbers by family of the subject, by metric, and by what the database has.
        is_disturbed: something took too long or came twice, so that the numbers are not the usual.
        is_whole: nothing is to be sent any more: writes are answered, rows and commits announced.
    """

    of: Counter[str]
    is_disturbed: bool
    is_whole: bool


@dataclass
class Traffic:
    """Everything that passes on a stack's broker during a block.

    Attributes:
        stack: the stack; nobody else may use it.
        client: a client of its edge.
        transport: that of the workers that run the executions.
        is_direct: whether writes are requested of their owners, else all are stored first.
        not_counted: families of subjects that belong to no step.
        messages: all of them, oldest first.
    """

    stack: Stack
    client: httpx.Client
    transport: str
    is_direct: bool
    not_counted: frozenset[str]
    messages: list[Seen] = field(default_factory=list)

    def execute(self, kinds: list[str]) -> "Played":
        """Start an execution whose steps are of these kinds, and wait for its end."""
        path = f"traffic/{'-'.join(kinds)}"
        register(self.client, _playbook(path, kinds))
        begun = len(self.messages)
        before = self.metrics()
        body = {"path": path, "execution_pool": POOLS[self.transport]}
        answer = self.client.post("/api/execute", json=body).raise_for_status().json()
        played = Played(self, kinds, begun, before, int(answer["execution_id"]))
        wait_for(played.end, what="the end of the execution on the broker")
        return played

    def metrics(self) -> Counter[str]:
        """Return the counters of the services, by metric."""
        services = self.stack.services()
        found: Counter[str] = Counter()
        for name, service in METRICS.items():
            ports = [one["port"] for key, one in services.items() if key.startswith(service)]
            assert ports, f"no process of {service} among {sorted(services)}"
            for port in ports:
                text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS).text
                lines = re.findall(rf"^{name}(?:\{{.*?\}})? (\S+)$", text, re.MULTILINE)
                found[name] += int(sum(map(float, lines)))
        return found


@dataclass
class Played:
    """An execution that has ended."""

    traffic: Traffic
    kinds: list[str]
    begun: int
    metrics_before: Counter[str]
    execution_id: int

    def end(self) -> Seen | None:
        """Return the message of its last event; None while it is to come."""
        return next(
            (
                one
                for one in self.traffic.messages[self.begun :]
                if one.family == EVENTS_ROOT
                and str(self.execution_id) in one.subject
                and orjson.loads(one.data)["event_type"] == "playbook.completed"
            ),
            None,
        )

    def count(self) -> Count:
        """Count the traffic of it so far."""
        rows = asyncio.run(self._rows())
        own = [one for one in self.traffic.messages[self.begun :] if self._is_own(one, rows.ids)]
        found = Counter(rows.counts)
        found.update(one.family for one in _once(own))
        writes = [one for one in own if REPLY_HEADER in one.headers]
        replies = {one.headers[REPLY_HEADER] for one in writes}
        for family in self.traffic.not_counted:
            del found[family]
        seen = self.traffic.messages[self.begun :]
        found[ANSWERS] = sum(one.subject in replies for one in seen)
        found.update(self.traffic.metrics() - self.metrics_before)
        told = [orjson.loads(one.data)["last"] for one in own if one.family == COMMITS_ROOT]
        is_whole = (
            not rows.unpublished
            and max(told, default=0) >= rows.last
            and replies <= {one.subject for one in seen}
        )
        is_disturbed = self._is_disturbed(own, writes) or self._has_others(seen, own)
        return Count(+found, is_disturbed, is_whole)

    def _is_own(self, one: Seen, ids: list[int]) -> bool:
        text = one.subject.encode() + one.data
        return any(str(each).encode() in text for each in (self.execution_id, *ids))

    def _has_others(self, seen: list[Seen], own: list[Seen]) -> bool:
        """Return whether another execution was under way: services count for all together."""
        known = {id(one) for one in own}
        others = (one.family for one in seen if id(one) not in known)
        return not {COMMANDS_ROOT, WRITES_ROOT, INGRESS_ROOT}.isdisjoint(others)

    def _is_disturbed(self, own: list[Seen], writes: list[Seen]) -> bool:
        begun = next((one.at for one in own if one.family == COMMANDS_ROOT), 0.0)
        end = self.end()
        starts = {one.subject for one in writes if one.kind == "start"}
        # Of a command whose notification was in doubt: a worker that heard nothing for a while.
        claims = sum(one.kind == "claim" for one in own)
        other_way = INGRESS_ROOT if self.traffic.is_direct else WRITES_ROOT
        return (
            any(AGAIN_HEADER in one.headers for one in own)
            or any(one.kind in {"execute", "outcome"} for one in writes if one.family == other_way)
            or (bool(starts) and set(self.kinds) == {"quick"})
            or sum(one.kind == "start" for one in writes) > len(self.kinds) - 1
            or claims > self.kinds.count("large")
            or (end is not None and end.at - begun > _SHORT_SECONDS)
        )

    async def _rows(self) -> "_Rows":
        connection = await asyncpg.connect(self.traffic.stack.dsn())
        try:
            commands = await connection.fetch(
                "SELECT event_id, handed_for FROM noetl.command WHERE execution_id = $1",
                self.execution_id,
            )
            log = await connection.fetch(
                "SELECT position, xmin::text AS transaction FROM noetl.event"
                " WHERE execution_id = $1",
                self.execution_id,
            )
            statuses = await connection.fetch(
                "SELECT status FROM noetl.outbox WHERE execution_id = $1", self.execution_id
            )
        finally:
            await connection.close()
        followed = sum(one["handed_for"] is not None for one in commands)
        unpublished = sum(one["status"] != "PUBLISHED" for one in statuses)
        commits = len({one["transaction"] for one in log})
        counts = {COMMITS: commits, ROWS: len(statuses), FOLLOWED: followed}
        last = max(one["position"] for one in log)
        return _Rows([one["event_id"] for one in commands], counts, unpublished, last)


@dataclass(frozen=True)
class _Rows:
    ids: list[int]
    counts: dict[str, int]
    unpublished: int
    last: int


def _once(messages: list[Seen]) -> Iterator[Seen]:
    """Yield messages; of those that the broker drops as repetitions the first alone."""
    known: set[tuple[str, str]] = set()
    for one in messages:
        message_id = one.headers.get(_MESSAGE_ID)
        if message_id is not None:
            if (one.subject, message_id) in known:
                continue
            known.add((one.subject, message_id))
        yield one


@contextmanager
def traffic_of(
    stack: Stack, *, transport: str, is_direct: bool, not_counted: frozenset[str]
) -> Iterator[Traffic]:
    """Listen to everything on a stack's broker during the block; see `Traffic`."""
    is_ready, is_over = threading.Event(), threading.Event()

    async def listen(messages: list[Seen]) -> None:
        async def note(message: Msg) -> None:
            # What the broker gives to a consumer has been seen when it was published.
            if not message.reply.startswith(_DELIVERY):
                headers = dict(message.headers or {})
                messages.append(Seen(time.monotonic(), message.subject, headers, message.data))

        client = await nats.connect(stack.values()["NOETL_NATS_URL"])
        try:
            await client.subscribe(">", cb=note, pending_msgs_limit=-1, pending_bytes_limit=-1)
            await flush(client)
            is_ready.set()
            await asyncio.to_thread(is_over.wait)
        finally:
            await client.close()

    with stack.client() as client:
        traffic = Traffic(stack, client, transport, is_direct, not_counted)
        thread = threading.Thread(target=lambda: asyncio.run(listen(traffic.messages)))
        thread.start()
        try:
            assert is_ready.wait(PATIENCE_SECONDS), "no subscription to all subjects"
            yield traffic
        finally:
            is_over.set()
            thread.join(timeout=PATIENCE_SECONDS)


def _playbook(path: str, kinds: list[str]) -> str:
    names = ["start", *(f"step_{number}" for number in range(1, len(kinds)))]
    steps = []
    for number, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        steps.append(f"  - step: {name}\n    tool: {_TOOLS[kind]}\n")
        if number + 1 < len(names):
            steps.append(f"    next: {{arcs: [{{step: {names[number + 1]}}}]}}\n")
    return (
        "apiVersion: noetl.io/v2\nkind: Playbook\n"
        f"metadata: {{name: traffic, path: {path}}}\nworkflow:\n{''.join(steps)}"
    )
