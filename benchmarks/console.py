"""Costs of the console's pages: runs of a million, and a run of 10,000 iterations.

Run by hand: ``make console-million``, or ``.venv/bin/python benchmarks/console.py [--size N]
[--iterations N]``. It starts a stack of its own, runs a loop, fills the lists with copies of real
executions (`lists_data`, without their logs), and then goes through the list of runs as people do:
first page, "Older runs" again and again, from some places of the list, with each filter. Printed
are the best, p50, p99 and the longest of each (the best is nearest to the server's own time where
others use the machine), from the request to the last byte on one connection, and the
size. It ends with 1 if the loop's page is above 50 ms at p50 or above 200 kB.
"""

import argparse
import asyncio
import html
import http.client
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
from noetl_testkit import stack as e2e
from noetl_testkit.waiting import wait_until

sys.path.insert(0, str(Path(__file__).parent))
from lists_data import LIST_TABLES, fill, run_templates

_RUN_MS, _RUN_BYTES = 50.0, 200_000
_OLDER = re.compile(r'<a class="more" href="([^"]+)"')
_LOOP = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: many, path: bench/many}
workflow:
  - step: start
    loop:
      in: "{{ range(ITERATIONS) | list }}"
      iterator: x
      spec: {mode: parallel, max_in_flight: 500}
    tool: {kind: noop}
"""


class Browser:
    """Asks for pages as a browser does, on one connection."""

    def __init__(self, stack: e2e.Stack) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=120)

    def page(self, path: str) -> tuple[float, str]:
        """Return milliseconds and text.

        Raises:
            RuntimeError: another status than 200.
        """
        began = time.perf_counter()
        try:
            self._connection.request("GET", path, headers={"accept": "text/html"})
            answer = self._connection.getresponse()
        except ConnectionError:
            self._connection.close()
            return self.page(path)
        body = answer.read()
        took = (time.perf_counter() - began) * 1000
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
        return took, body.decode()


def row(name: str, times: list[float], size: int, pages: int) -> str:
    """Return a line of the table."""
    ordered = sorted(times)
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    best = ordered[0]
    return (
        f"{name:34}{pages:7}{best:9.1f}{statistics.median(times):9.1f}{last:9.1f}{ordered[-1]:9.1f}"
        f"{size / 1000:8.0f}"
    )


def filters(begin: str, middle: str, parent: int) -> Iterator[tuple[str, str]]:
    """Yield names and queries: those of the page's form, alone and together."""
    yield "all", ""
    for status in ("RUNNING", "COMPLETED", "FAILED", "CANCELLED", "SOFT"):
        yield status, f"status={status}"
    yield "path of many", "path=flow_0"
    yield "path of few", "path=flow_599"
    yield "path of none", "path=nothing-of-it"
    yield "path, FAILED", "path=flow_0&status=FAILED"
    yield "path, SOFT", "path=flow_0&status=SOFT"
    yield "children", f"parent_execution_id={parent}"
    yield "since", f"since={begin}"
    yield "until", f"until={middle}"
    yield "since, until", f"since={begin}&until={middle}"
    yield "since, until, FAILED", f"since={begin}&until={middle}&status=FAILED"
    yield "since, until, path", f"since={begin}&until={middle}&path=flow_7"


def walk(browser: Browser, query: str, places: list[int], *, steps: int) -> tuple[list[float], int]:
    """Go down the list from its begin and from some places; return times and the largest size."""
    times: list[float] = []
    size = 0
    for place in [None, *places]:
        path = f"/console?{query}" + ("" if place is None else f"&after={place}")
        for _ in range(steps):
            took, text = browser.page(path)
            times.append(took)
            size = max(size, len(text.encode()))
            older = _OLDER.search(text)
            if older is None:
                break
            path = html.unescape(older[1])
    return times, size


def run_loop(stack: e2e.Stack, iterations: int) -> int:
    """Run a loop to its end; return its id."""
    with stack.client() as client:
        text = _LOOP.replace("ITERATIONS", str(iterations))
        client.post("/api/catalog/register", json={"content": text}).raise_for_status()
        started = client.post("/api/execute", json={"path": "bench/many"})
        number = int(started.json()["execution_id"])

        def is_over() -> bool:
            status = client.get(f"/api/executions/{number}/status").json()["status"]
            return bool(status != "RUNNING")

        wait_until(is_over, timeout_seconds=900, every_seconds=0.5, what="the loop ends")
        steps = client.get(f"/api/executions/{number}/steps").json()["steps"]
        print(f"loop: {json.dumps(steps[0]['iterations'])}", flush=True)
    return number


async def run(options: argparse.Namespace) -> int:
    """Run everything."""
    with e2e.running_stack() as stack:
        browser = Browser(stack)
        number = run_loop(stack, options.iterations)
        with stack.client() as client:
            ids = run_templates(client)
        db = await asyncpg.connect(stack.dsn(), command_timeout=14_400)
        other = await asyncpg.connect(stack.dsn(), command_timeout=14_400)
        await fill(db, other, ids, size=options.size, tables=LIST_TABLES)
        begin, middle, parent, places = await _places(db)
        await db.close()
        await other.close()
        print(f"{'runs':34}{'pages':>7}{'best':>9}{'p50':>9}{'p99':>9}{'max':>9}{'kB':>8}")
        for name, query in filters(begin, middle, parent):
            times, size = walk(browser, query, places, steps=options.steps)
            print(row(name, times, size, len(times)), flush=True)
        is_good = True
        for tab in ("", "?tab=events", "?tab=result", "/steps/start"):
            times, size = [], 0
            for _ in range(options.rounds):
                took, text = browser.page(f"/console/runs/{number}{tab}")
                times.append(took)
                size = len(text.encode())
            print(row(f"loop's page {tab}", times, size, len(times)), flush=True)
            is_slow = not tab and statistics.median(times) > _RUN_MS
            is_good = is_good and not is_slow and size <= _RUN_BYTES
    return 0 if is_good else 1


async def _places(db: asyncpg.Connection) -> tuple[str, str, int, list[int]]:
    """Return two times, the parent of most, and executions at some places of the list."""
    places = [
        await db.fetchval(
            "SELECT execution_id FROM noetl.execution_state"
            " WHERE started_at < now() - make_interval(days => $1)"
            " ORDER BY started_at DESC, execution_id DESC LIMIT 1",
            days,
        )
        for days in (25, 125, 225, 249)
    ]
    parent = await db.fetchval(
        "SELECT parent_execution_id FROM noetl.execution_state"
        " WHERE parent_execution_id IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
    )
    count = await db.fetchval("SELECT count(*) FROM noetl.execution_state")
    print(f"{count} executions", flush=True)
    texts = [
        await db.fetchval(
            "SELECT to_char(now() AT TIME ZONE 'UTC' - make_interval(days => $1),"
            " 'YYYY-MM-DD\"T\"HH24:MI')",
            days,
        )
        for days in (200, 100)
    ]
    return quote(texts[0]), quote(texts[1]), parent, [one for one in places if one]


def main() -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1_000_000, help="executions")
    parser.add_argument("--iterations", type=int, default=10_000, help="of the loop")
    parser.add_argument("--steps", type=int, default=10, help="pages from each place")
    parser.add_argument("--rounds", type=int, default=20, help="requests of the loop's pages")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
