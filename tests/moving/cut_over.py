"""A cut-over and back: one address, which edges answer that stand before two servers.

Clients and the existing server's workers know only the address. It moves from edge to edge as a
Service's selector does; what is under way at the old one ends there.
"""

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import httpx
from noetl.stack.datadir import DataDirectory
from noetl.stack.process import free_port
from noetl_contract.json import JsonObject
from noetl_testkit.legacy import LegacyProcess
from noetl_testkit.stack import FINISHED, Stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_for, wait_until

HELLO = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: hello, path: {path}/hello, labels: {{edition: "{edition}"}}}}
workload: {{edition: {edition}}}
workflow:
  - step: start
    tool: {{kind: noop}}
"""
WAITS = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: waits, path: {path}/waits}}
workflow:
  - step: start
    tool: {{kind: wait, signal: go, timeout: 1h}}
"""
STARTS_THERE = "POST /api/execute, GET /api/executions"
"""State in which catalog and secrets have moved, and executions not yet."""
EVERYTHING_THERE = "*"
NOTHING_THERE = ""


@contextmanager
def running_edges(
    stack: Stack, legacy: LegacyProcess, routes: Sequence[str]
) -> Iterator[list[str]]:
    """Run an edge for each setting of NOETL_LEGACY_ROUTES, and yield their addresses."""
    ports = [free_port() for _ in routes]
    script = Path(__file__).with_name("edges.py")
    arguments = [text for pair in zip(map(str, ports), routes, strict=True) for text in pair]
    environment = {
        **os.environ,
        **stack.values(),
        "NOETL_COMMAND_KEY": DataDirectory(stack.data).identity().command_key,
        "NOETL_LEGACY_URL": legacy.url,
        "NOETL_LOG_FORMAT": "json",
    }
    log = stack.data.parent / "legacy-edges.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        for url in urls:
            wait_until(
                lambda url=url: _is_ready(url, process, log),
                what=f"{url} is ready",
                every_seconds=0.1,
            )
        yield urls
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)


def _is_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-4000:]
    try:
        with urlopen(f"{url}/readyz", timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 -- of ours
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass
class Address:
    """The one address; ``move`` makes another edge answer it."""

    url: str
    client: httpx.Client = field(
        default_factory=lambda: httpx.Client(timeout=PATIENCE_SECONDS, trust_env=False)
    )

    def move(self, url: str) -> None:
        """Lead to another edge from now on."""
        self.url = url

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def get(self, path: str) -> httpx.Response:
        """Get."""
        return self.client.get(f"{self.url}{path}")

    def post(self, path: str, body: JsonObject) -> httpx.Response:
        """Post."""
        return self.client.post(f"{self.url}{path}", json=body)


@dataclass
class Traffic:
    """Starts of clients, and the work of the existing server's workers for them."""

    address: Address
    path: str
    there: list[int] = field(default_factory=list)
    here: list[int] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def start(self, name: str = "hello") -> int:
        """Start an execution; the server that answers has it."""
        answer = self.address.post("/api/execute", {"path": f"{self.path}/{name}"})
        answer.raise_for_status()
        number = int(answer.json()["execution_id"])
        side = self.there if answer.headers.get("noetl-answered-by") == "legacy" else self.here
        side.append(number)
        return number

    def carry_on(self, number: int) -> None:
        """Do as a worker of the existing server does: claim, and report the end."""
        rows = self.address.get(f"/api/executions/{number}").json()["events"]
        issued = next(row["event_id"] for row in rows if row["event_type"] == "command.issued")
        claim = self.address.post(f"/api/commands/{issued}/claim", {"worker_id": "theirs"})
        claim.raise_for_status()
        command_id = claim.json()["meta"]["command_id"]
        event: JsonObject = {
            "execution_id": number,
            "step": "start",
            "event_type": "command.completed",
            "status": "COMPLETED",
            "context": {"command_id": command_id},
            "worker_id": "theirs",
        }
        self.address.post("/api/events", event).raise_for_status()

    def finish(self, number: int) -> str:
        """Wait for the end of an execution, on either server, and return its status."""

        def ended() -> str | None:
            status: str = self.address.get(f"/api/executions/{number}/status").json()["status"]
            return status if status in FINISHED else None

        return wait_for(ended, what=f"execution {number} ends")

    def run_until(self, over: threading.Event) -> None:
        """Start and finish executions, one after the other."""
        while not over.is_set():
            try:
                number = self.start()
                if number in self.there:
                    self.carry_on(number)
                status = self.finish(number)
            except (httpx.HTTPError, TimeoutError) as error:
                self.troubles.append(repr(error))
                continue
            if status != "COMPLETED":
                self.troubles.append(f"{number} is {status}")


@dataclass(frozen=True)
class Books:
    """Lists of both servers, compared with the answers that clients got."""

    lost: set[int]
    doubled: set[int]
    unknown: set[int]
    ends: Counter[str]

    @property
    def are_even(self) -> bool:
        """Whether nothing was lost or doubled."""
        return not (self.lost or self.doubled or self.unknown)


def books(traffics: Sequence[Traffic], stack_url: str, legacy: LegacyProcess, path: str) -> Books:
    """Compare both servers' own lists with the answers that clients got."""
    here, there = _listed(stack_url, path), _listed(legacy.url, path)
    told_here = {number for one in traffics for number in one.here}
    told_there = {number for one in traffics for number in one.there}
    ends = Counter([*here.values(), *there.values()])
    return Books(
        lost=(told_here - here.keys()) | (told_there - there.keys()),
        doubled=here.keys() & there.keys(),
        unknown=(here.keys() - told_here) | (there.keys() - told_there),
        ends=ends,
    )


def _listed(url: str, path: str) -> dict[int, str]:
    found: dict[int, str] = {}
    while True:
        query = {"limit": "100", "offset": str(len(found)), "path": path}
        page = httpx.get(f"{url}/api/executions", params=query, trust_env=False).json()
        found |= {int(one["execution_id"]): one["status"] for one in page}
        if len(page) < 100:
            return found
