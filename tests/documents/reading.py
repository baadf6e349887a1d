"""Everything that the pages say, done at once in one stack."""

import asyncio
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import nats
from fenced import ROOT, Block
from mock_hosts import mock_hosts
from nats.js.api import StreamConfig
from noetl.stack.process import free_port
from noetl_contract.json import JsonObject
from noetl_testkit.stack import Stack, command, execute, finish
from readers import Reader

# Pages whose commands run at the same time.
_READERS = 4
# Pages whose reader has done what another one says; all others stand for themselves.
_GOES_ON_FROM = {
    "docs/tutorial/4-failure-and-resume.md": "docs/tutorial/3-own-credential.md",
    "docs/tutorial/6-schedule-and-alert.md": "docs/tutorial/3-own-credential.md",
}


@dataclass(kw_only=True)
class Session:
    """What became of all blocks, by their places."""

    stack: Stack
    executions: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, tuple[int, str]] = field(default_factory=dict)

    def outcome(self, block: Block) -> JsonObject:
        """Return the execution of a playbook, once it has ended."""
        with self.stack.client() as client:
            execution = self.executions[block.place]
            finish(client, execution, seconds=60)
            answer = client.get(f"/api/executions/{execution}", params={"page_size": 500})
            return dict(answer.json())


@contextmanager
def session_of(
    stack: Stack, playbooks: Sequence[Block], blocks: Sequence[Block], folder: Path
) -> Iterator[Session]:
    """Run all playbooks and all commands; the executions need not have ended.

    Args:
        playbooks: are registered in the order of the pages, and then started.
        blocks: all blocks; the files and the commands of a page are for one reader.
        folder: of the readers.
    """
    asyncio.run(_prepare_broker(stack.values()["NOETL_NATS_URL"]))
    programs = Path(command(is_warm=True)[0]).parent
    with mock_hosts() as hosts, _example_service() as service:
        places = {
            "http://localhost:8082": stack.url,
            "localhost:8082": stack.url.removeprefix("http://"),
            "127.0.0.1:8082": stack.url.removeprefix("http://"),
            "http://localhost:8099": service,
            "http://127.0.0.1:8099": service,
            "http://localhost:5555": hosts.url,
            "nats://localhost:4222": stack.values()["NOETL_NATS_URL"],
        }
        session = Session(stack=stack)
        with stack.client() as client:
            _start(client, session, playbooks, places)
        pages: dict[str, list[Block]] = defaultdict(list)
        for block in blocks:
            pages[_GOES_ON_FROM.get(block.page, block.page)].append(block)
        readers = [
            (
                Reader(
                    folder=folder / str(number), places=places, data=stack.data, programs=programs
                ),
                page,
            )
            for number, page in enumerate(pages.values())
        ]
        with ThreadPoolExecutor(_READERS) as pool:
            for outputs in pool.map(lambda pair: pair[0].follow(pair[1]), readers):
                session.outputs |= outputs
        yield session


def _start(
    client: httpx.Client, session: Session, playbooks: Sequence[Block], places: Mapping[str, str]
) -> None:
    """Register all playbooks, then start each; children are there before their parents start."""
    paths = {}
    for block in playbooks:
        text = block.text
        for place, stand_in in places.items():
            text = text.replace(place, stand_in)
        answer = client.post("/api/catalog/register", json={"content": text})
        if answer.is_success:
            paths[block.place] = answer.json()["path"]
        else:
            session.refusals[block.place] = answer.text
    for block in playbooks:
        if block.place in paths and block.marks.get("ends") != "REFUSED":
            execution = execute(client, paths[block.place], **block.payload)
            session.executions[block.place] = execution
            if signal := block.marks.get("signal"):
                name, _, payload = signal.partition(" ")
                body = {"payload": json.loads(payload or "null")}
                place = f"/api/executions/{execution}/signals/{name}"
                client.post(place, json=body).raise_for_status()


async def _prepare_broker(url: str) -> None:
    """Create what the pages about tools use; the tools themselves create nothing."""
    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        await stream.create_key_value(bucket="state")
        await stream.add_stream(StreamConfig(name="ORDERS", subjects=["docs.orders.>"]))
        await stream.add_consumer("ORDERS", durable_name="reporter", ack_policy="explicit")
    finally:
        await client.close()


@contextmanager
def _example_service() -> Iterator[str]:
    """Run the web service of the examples, as their readers do."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "mock_api.py"), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(timeout=10)
