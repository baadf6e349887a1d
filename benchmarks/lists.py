"""Costs of each list with a million executions: every route, filter and page.

Run by hand: ``make lists``, or ``.venv/bin/python benchmarks/lists.py [--size N]``. It starts a
stack of its own, asks each list while there is nothing (so that plans are made of empty tables),
fills the database with N executions and some ten times as many events (`lists_data`), and then asks
the edge over one connection for first, middle and last pages. Printed are rows, p50 and p99 of
each; of those above the bar also the longest step of the query's plan. It ends with 1 if a page
that is reached by a cursor is above the bar.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import asyncpg
from noetl_testkit import stack as e2e

sys.path.insert(0, str(Path(__file__).parent))
from lists_data import Filled, fill, run_templates, summary

BAR_MS = 30.0
_EMPTY_ROUNDS = 7
_KEPT_SECONDS = 2.0
_TOKEN = "of-the-benchmark"


@dataclass(frozen=True, slots=True)
class Page:
    """One request.

    Attributes:
        name: What is listed, and by what filter.
        part: Which page: first, middle, last; pages by number or offset are distinguished.
        path: Path and query.
        body: Of a POST.
        is_bound: Whether the bar holds for it.
    """

    name: str
    part: str
    path: str
    body: object = None
    is_bound: bool = True


@dataclass(slots=True)
class Figures:
    """Milliseconds of a page, and its entries."""

    times: list[float] = field(default_factory=list)
    rows: int = 0
    size: int = 0

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.times)

    @property
    def p99(self) -> float:
        """Of a few, the longest."""
        return sorted(self.times)[min(len(self.times) - 1, int(len(self.times) * 0.99))]


class Edge:
    """A lean client on one connection."""

    def __init__(self, stack: e2e.Stack) -> None:
        self._stack = stack
        self._connection: http.client.HTTPConnection | None = None
        self._used_at = 0.0

    def ask(self, page: Page) -> tuple[float, bytes]:
        """Return milliseconds and body.

        Raises:
            RuntimeError: another status than 200.
        """
        headers = {"authorization": f"Bearer {self._stack.admin_key() or _TOKEN}"}
        body = None
        if page.body is not None:
            body, headers["content-type"] = json.dumps(page.body), "application/json"
        # The edge closes connections that rest.
        if self._connection is None or time.monotonic() - self._used_at > _KEPT_SECONDS:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._stack.port, timeout=60)
            self._connection.connect()
        began = time.perf_counter()
        self._connection.request("GET" if body is None else "POST", page.path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        self._used_at = time.monotonic()
        took = (time.perf_counter() - began) * 1000
        if answer.status != 200 and page.is_bound:
            raise RuntimeError(f"{page.path}: {answer.status} {text[:300]!r}")
        return took, text


def pages(made: Filled, places: dict[str, list[int]]) -> Iterator[Page]:
    """Yield all pages of all lists."""
    yield from _executions(made, places)
    yield from _events(made)
    yield from _others(made, places)


def _executions(made: Filled, places: dict[str, list[int]]) -> Iterator[Page]:
    filters = {
        "all": "",
        "status RUNNING": "status=RUNNING",
        "status COMPLETED": "status=COMPLETED",
        "status FAILED": "status=FAILED",
        "status CANCELLED": "status=CANCELLED",
        "status absent": "status=LOST",
        "path common": f"path={made.path}",
        "path rare": f"path={made.rare_path}",
        "path of all": "path=team",
        "path absent": "path=nothing-of-it",
        "path, FAILED": f"path={made.path}&status=FAILED",
        "path of all, absent": "path=team&status=LOST",
        "path rare, CANCELLED": f"path={made.rare_path}&status=CANCELLED",
        "version": f"catalog_id={made.catalog_id}",
        "version, CANCELLED": f"catalog_id={made.catalog_id}&status=CANCELLED",
        "version absent": "catalog_id=5",
        "version, path absent": f"catalog_id={made.catalog_id}&path=nothing-of-it",
        "children": f"parent_execution_id={made.parent_id}",
        "children, FAILED": f"parent_execution_id={made.parent_id}&status=FAILED",
    }
    for name, query in filters.items():
        base = f"/api/executions?limit=100&{query}"
        yield Page(f"executions: {name}", "first", base)
        for part, ids in places.items():
            for number in ids:
                yield Page(f"executions: {name}", part, f"{base}&after={number}")
    for offset in (1000, 10_000, made.executions // 2):
        path = f"/api/executions?limit=100&offset={offset}"
        yield Page("executions: all", f"offset {offset}", path, is_bound=offset <= 10_000)
    yield Page(
        "executions: FAILED", "offset 1000", "/api/executions?limit=100&status=FAILED&offset=1000"
    )
    yield Page("ehdb/executions", "first", "/api/ehdb/executions?limit=100")
    yield Page("ehdb/executions: FAILED", "first", "/api/ehdb/executions?limit=100&status=FAILED")


def _events(made: Filled) -> Iterator[Page]:
    for kind, number in (("long", made.long_id), ("short", made.short_id)):
        base = f"/api/executions/{number}/events?page_size=100"
        types = ("", "call.done", "playbook_started", "playbook.completed", "call.error")
        for event_type in types:
            query = f"{base}&event_type={event_type}" if event_type else base
            name = f"events, {kind} log" + (f": {event_type}" if event_type else "")
            yield Page(name, "first", f"{query}&page=1")
            yield Page(name, "page 5", f"{query}&page=5")
            yield Page(name, "last page", f"{query}&page=1000000", is_bound=False)
        yield Page(f"detail, {kind} log", "first", f"/api/executions/{number}?page=1&page_size=100")
        tail = f"/api/ehdb/executions/{number}/events?limit=100"
        yield Page(f"ehdb/events, {kind} log", "first", tail)
        yield Page(f"why, {kind} log", "", f"/api/executions/{number}/why")
        yield Page(f"results, {kind} log", "first", f"/api/result/{number}/list")
        yield Page(f"vars, {kind} log", "first", f"/api/vars/{number}")


def _others(made: Filled, places: dict[str, list[int]]) -> Iterator[Page]:
    for query in (
        "", "state=all", "state=dismissed", "state=restarted", f"path={made.path}",
        f"path={made.rare_path}", "path=nothing-of-it", "step=start", "step=nothing",
        "since=2026-11-20T00:00:00Z", "offset=100",
    ):  # fmt: skip
        yield Page(f"failures: {query}", "first", f"/api/failures?limit=100&{query}")
    for query in (
        "", "kind=all", "kind=sleep", "signal=go", "signal=nothing", "path=team0",
        f"path=team11/flows/{made.rare_path}", "path=nothing", f"execution_id={made.short_id}",
    ):  # fmt: skip
        base = f"/api/waits?limit=100&{query}"
        yield Page(f"waits: {query}", "first", base)
        for part, ids in places.items():
            yield Page(f"waits: {query}", part, f"{base}&after={ids[0]}")
    yield Page("schedules", "first", "/api/schedules")
    yield Page("schedules", "middle", "/api/schedules?after=team5/nightly_5")
    yield Page("schedules: path", "first", "/api/schedules?path=team5/nightly_5")
    firings = f"/api/schedules/{made.schedule_id}/history"
    for query in ("", "state=missed", "state=queued"):
        yield Page(f"firings: {query}", "first", f"{firings}?{query}")
        moment = quote("2026-11-20T00:00:00Z")
        yield Page(f"firings: {query}", "middle", f"{firings}?{query}&before={moment}")
    yield from _cluster(made)


def _cluster(made: Filled) -> Iterator[Page]:
    yield Page("catalog: all", "", "/api/catalog/list", {}, is_bound=False)
    yield Page("catalog: kind", "", "/api/catalog/list", {"resource_type": "mcp"})
    one = {"path": f"team0/flows/{made.path}"}
    yield Page("catalog: versions of a path", "", "/api/catalog/list", one)
    yield Page("agents", "", "/api/catalog/agents/list", {})
    yield Page("credentials", "", "/api/credentials", is_bound=False)
    for query in ("type=s3", "q=credential_77", "q=nothing"):
        yield Page(f"credentials: {query}", "", f"/api/credentials?{query}")
    yield Page("keychain of a version", "", f"/api/keychain/catalog/{made.catalog_id}")
    yield Page("workers", "", "/api/worker/pools", is_bound=False)
    yield Page("workers: name", "", "/api/worker/pools?name=worker-77")
    yield Page("subscriptions", "", "/api/subscriptions")
    yield Page("pauses", "", "/api/pauses")
    yield Page("keys", "", "/api/admin/keys")
    yield Page("grants", "", "/api/admin/grants")
    for query in (
        "", "principal=p1", "principal=p299", "principal=nobody", "right=keys.change",
        "right=nothing", "outcome=forbidden", "outcome=nothing", f"object={made.short_id}",
        "object=nothing", "to=2026-11-20T00:00:00Z",
    ):  # fmt: skip
        yield Page(f"access audit: {query}", "", f"/api/internal/access-audit?limit=100&{query}")
    for query in (
        "", "credential=credential_7", "credential=nothing", f"execution_id={made.short_id}",
        "to=2026-11-20T00:00:00Z",
    ):  # fmt: skip
        yield Page(f"secret audit: {query}", "", f"/api/internal/secret-audit?limit=100&{query}")
    yield Page("dashboard: stats", "", "/api/dashboard/stats")
    yield Page("dashboard: widgets", "", "/api/dashboard/widgets")
    yield Page("result stats", "", "/api/result/stats")
    yield Page("outbox: pending", "", "/api/internal/outbox/pending-count")
    yield Page("pools: demand", "", "/api/internal/pools/shared/demand")


def _rows(body: bytes) -> int:
    """Return the length of the list in an answer."""
    found = json.loads(body)
    if isinstance(found, dict):
        found = next((one for one in found.values() if isinstance(one, list)), [])
    return len(found)


class Plans:
    """The server writes plans of slow statements into its log while it is asked to."""

    def __init__(self, stack: e2e.Stack, db: asyncpg.Connection) -> None:
        self._log = stack.data / "logs" / "postgres.log"
        self._db = db

    async def switch(self, *, is_on: bool) -> None:
        """Begin or end."""
        for name, value in (
            ("auto_explain.log_min_duration", "5ms" if is_on else "-1"),
            ("auto_explain.log_analyze", "on"),
            ("auto_explain.log_nested_statements", "on"),
        ):
            await self._db.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await self._db.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(0.5)

    def worst_of(self, edge: Edge, page: Page) -> str:
        """Ask once more; return the step that took longest by itself, without steps below it."""
        begin = self._log.stat().st_size
        edge.ask(page)
        time.sleep(0.3)
        with self._log.open(errors="replace") as file:
            file.seek(begin)
            text = file.read()
        worst, took = "", 0.0
        for plan in re.split(r"(?=duration: [\d.]+ ms  plan:)", text)[1:]:
            name = re.findall(r"/\* (\w+) \*/", plan)
            for line, own in _own_times(plan):
                if own > took:
                    worst, took = f"{name[-1] if name else '?'}: {line}", own
        return f"{worst} = {took:.1f} ms" if worst else "no statement above 5 ms"


_NODE = re.compile(
    r"^(\s*)(?:->\s+)?(\S.*?)\s+\(cost.*?actual time=[\d.]+\.\.([\d.]+) rows=([\d.]+) loops=(\d+)"
)


def _own_times(plan: str) -> Iterator[tuple[str, float]]:
    nodes: list[tuple[int, str, float]] = []
    for line in plan.splitlines():
        found = _NODE.match(line)
        if found:
            total = float(found[3]) * int(found[5])
            shown = f"{found[2]} rows={found[4]} loops={found[5]}"
            nodes.append((len(found[1]), shown, total))
    for index, (depth, shown, total) in enumerate(nodes):
        below, level = 0.0, None
        for other, _, took in nodes[index + 1 :]:
            if other <= depth:
                break
            level = other if level is None else level
            if other == level:
                below += took
        yield shown, total - below


def measure(edge: Edge, wanted: list[Page], *, rounds: int) -> dict[tuple[str, str], Figures]:
    """Ask each page several times, all in turn."""
    found: dict[tuple[str, str], Figures] = {}
    for _ in range(rounds):
        for page in wanted:
            figures = found.setdefault((page.name, page.part), Figures())
            took, body = edge.ask(page)
            figures.times.append(took)
            figures.rows, figures.size = _rows(body), len(body)
    return found


async def report(
    wanted: list[Page], found: dict[tuple[str, str], Figures], plans: Plans, edge: Edge
) -> bool:
    """Print the table; return whether all that is bound is within the bar."""
    is_good = True
    print(f"{'list':52}{'page':>16}{'rows':>6}{'kB':>7}{'p50':>9}{'p99':>9}")
    await plans.switch(is_on=True)
    for page in {(page.name, page.part): page for page in wanted}.values():
        figures = found[page.name, page.part]
        is_slow = figures.p99 > BAR_MS
        is_good = is_good and not (is_slow and page.is_bound)
        print(
            f"{page.name:52}{page.part:>16}{figures.rows:6}{figures.size / 1000:7.0f}"
            f"{figures.p50:9.1f}{figures.p99:9.1f}" + (" <<" if is_slow else "")
        )
        if is_slow:
            print(f"    {plans.worst_of(edge, page)}", flush=True)
    await plans.switch(is_on=False)
    return is_good


async def _places(db: asyncpg.Connection) -> dict[str, list[int]]:
    """Return executions in the middle and at the end of the list."""
    begin = await db.fetchval("SELECT min(started_at) FROM noetl.execution_state")
    found: dict[str, list[int]] = {"middle": [], "last": []}
    for part, shares in (("middle", (0.25, 0.5, 0.75)), ("last", (0.0,))):
        for share in shares:
            number = await db.fetchval(
                "SELECT execution_id FROM noetl.execution_state"
                " WHERE started_at >= $1::TIMESTAMPTZ + (now() - $1) * $2::FLOAT8"
                " ORDER BY started_at, execution_id LIMIT 1 OFFSET 20",
                begin,
                share,
            )
            found[part].append(number)
    return found


async def _make(stack: e2e.Stack, edge: Edge, *, size: int) -> None:
    """Ask all lists while there is nothing, then fill the database."""
    for name, value in (("session_preload_libraries", "auto_explain"), ("max_wal_size", "16GB")):
        db = await asyncpg.connect(stack.dsn())
        await db.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await db.close()
    # New connections only have it.
    stack.down()
    stack.up()
    with stack.client() as client:
        ids = run_templates(client)
    nothing = Filled(0, 0, "x", "x", 1, 1, ids["loop"], ids["two"], 1)
    early = pages(nothing, {"middle": [ids["two"]], "last": [ids["two"]]})
    measure(edge, [page for page in early if "firings" not in page.name], rounds=_EMPTY_ROUNDS)
    await _grow(stack, ids, size=size)


async def _grow(stack: e2e.Stack, ids: dict[str, int], *, size: int) -> None:
    db = await asyncpg.connect(stack.dsn(), command_timeout=14_400)
    other = await asyncpg.connect(stack.dsn(), command_timeout=14_400)
    await fill(db, other, ids, size=size)
    await db.close()
    await other.close()


async def run(options: argparse.Namespace) -> int:
    """Run everything."""
    with opened(options.data) as stack:
        edge = Edge(stack)
        db = await asyncpg.connect(stack.dsn())
        if not await db.fetchval("SELECT to_regclass('bench.clone') IS NOT NULL"):
            await db.close()
            await _make(stack, edge, size=options.size)
            db = await asyncpg.connect(stack.dsn())
        elif await db.fetchval("SELECT max(number) FROM bench.clone") < options.size:
            await _grow(stack, {}, size=options.size)
        made = await summary(db)
        print(f"{made.executions} executions, {made.events} events", flush=True)
        wanted = [page for page in pages(made, await _places(db)) if options.only in page.name]
        measure(edge, wanted, rounds=2)
        found = measure(edge, wanted, rounds=options.rounds)
        is_good = await report(wanted, found, Plans(stack, db), edge)
        await db.close()
    return 0 if is_good else 1


@contextlib.contextmanager
def opened(data: Path | None) -> Iterator[e2e.Stack]:
    """Run a stack, on data that stay if they have a folder."""
    environment = {"NOETL_INTERNAL_API_TOKEN": _TOKEN}
    if data is None:
        with e2e.running_stack(environment=environment) as stack:
            yield stack
        return
    data.mkdir(parents=True, exist_ok=True)
    stack = e2e.Stack(data / "data", environment=environment)
    stack.scratch.mkdir(exist_ok=True)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


def main() -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20_000, help="executions")
    parser.add_argument("--rounds", type=int, default=30, help="requests of each page")
    parser.add_argument("--data", type=Path, help="a folder to keep the data in, and to use again")
    parser.add_argument("--only", default="", help="lists with this in their names")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
