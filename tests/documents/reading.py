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
from noetl_testkit.stack import Stack, command, execute, finish, register
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from noetl_testkit.web import Request, Response, serving
from readers import Reader

# Pages whose commands run at the same time.
_READERS = 4
# Pages whose reader has done what another one says; all others stand for themselves.
_GOES_ON_FROM = {
    "docs/tutorial/4-failure-and-resume.md": "docs/tutorial/3-own-credential.md",
    "docs/tutorial/6-schedule-and-alert.md": "docs/tutorial/3-own-credential.md",
    "docs/tutorial/7-deploy.md": "docs/tutorial/1-first-playbook.md",
}


_GIVEN = Path(__file__).with_name("given")


@dataclass(kw_only=True)
class Session:
    """Outcomes of all blocks of one stack, by their places."""

    stack: Stack
    executions: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)
    outputs: dict[str, tuple[int, str]] = field(default_factory=dict)
    given: list[int] = field(default_factory=list)

    def outcome(self, block: Block) -> JsonObject:
        """Return the execution of a playbook, once it has ended."""
        with self.stack.client() as client:
            execution = self.executions[block.place]
            finish(client, execution)
            answer = client.get(f"/api/executions/{execution}", params={"page_size": 500})
            return dict(answer.json())

    def start_given(self, name: str) -> int:
        """Start an execution that a page takes for granted, and wait until it is as it says."""
        with self.stack.client() as client:
            path = str(register(client, (_GIVEN / f"{name}.yaml").read_text())["path"])
            execution = execute(client, path)
            self.given.append(execution)
            if name == "waiting":
                wait_until(
                    lambda: len(_open_waits(client, execution)) == 2,
                    what="both waits are open",
                )
            else:
                finish(client, execution)
            return execution

    def end_given(self) -> None:
        """Cancel the executions that are left; a page may have ended one already."""
        with self.stack.client() as client:
            for execution in self.given:
                client.post(f"/api/executions/{execution}/cancel", json={})


def _open_waits(client: httpx.Client, execution: int) -> list[JsonObject]:
    answer = client.get("/api/waits", params={"limit": 1000}).json()
    return [one for one in answer["waits"] if str(one["execution_id"]) == str(execution)]


@contextmanager
def session_of(
    stack: Stack,
    playbooks: Sequence[Block],
    blocks: Sequence[Block],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> Iterator[Session]:
    """Run all playbooks and all commands; the executions need not have ended.

    Args:
        playbooks: those that are run are registered in the order of the pages, and then started;
            then the others are registered, which may be other versions of the same.
        blocks: the files and the commands of a page are for one reader.
        folder: of the readers.
        environment: what the readers have set before.
        files: what each has in its folder, by name.
    """
    asyncio.run(_prepare_broker(stack.values()["NOETL_NATS_URL"]))
    programs = Path(command(is_warm=True)[0]).parent
    with mock_hosts() as hosts, _example_service() as service, _tools_server() as tools:
        places = {
            "https://noetl.example": stack.url,
            "http://localhost:8082": stack.url,
            "localhost:8082": stack.url.removeprefix("http://"),
            "127.0.0.1:8082": stack.url.removeprefix("http://"),
            "http://noetl-server-rust:8082": stack.url,
            "http://noetl-api-gateway:8082": stack.url,
            "http://localhost:8099": service,
            "http://127.0.0.1:8099": service,
            "http://localhost:5555": hosts.url,
            "http://localhost:9000": tools,
            "nats://localhost:4222": stack.values()["NOETL_NATS_URL"],
            "/backups": str(folder / "backups"),
            "s3://company-archive": str(folder / "archive"),
            # Nothing is so old here.
            "--older-than 90": "--older-than 0",
        }
        (folder / "backups").mkdir()
        session = Session(stack=stack)
        with stack.client() as client:
            _start(client, session, [one for one in playbooks if one.is_run], places)
            _register(client, session, [one for one in playbooks if not one.is_run], places)
        pages: dict[str, list[Block]] = defaultdict(list)
        for block in blocks:
            pages[_GOES_ON_FROM.get(block.page, block.page)].append(block)
        readers = [
            (
                Reader(
                    folder=folder / str(number),
                    places=places,
                    environment={"NOETL_DATA_DIR": str(stack.data), **(environment or {})},
                    files=files or {},
                    programs=programs,
                    given=session.start_given,
                ),
                page,
            )
            for number, page in enumerate(pages.values())
        ]
        with ThreadPoolExecutor(_READERS) as pool:
            for outputs in pool.map(lambda pair: pair[0].follow(pair[1]), readers):
                session.outputs |= outputs
        session.end_given()
        yield session


def _start(
    client: httpx.Client, session: Session, playbooks: Sequence[Block], places: Mapping[str, str]
) -> None:
    """Register all playbooks, then start each; children are there before their parents start."""
    paths = _register(client, session, playbooks, places)
    for block in playbooks:
        if block.place in paths and block.marks.get("ends") != "REFUSED":
            execution = execute(client, paths[block.place], **block.payload)
            session.executions[block.place] = execution
            if signal := block.marks.get("signal"):
                name, _, payload = signal.partition(" ")
                body = {"payload": json.loads(payload or "null")}
                place = f"/api/executions/{execution}/signals/{name}"
                client.post(place, json=body).raise_for_status()


def _register(
    client: httpx.Client, session: Session, documents: Sequence[Block], places: Mapping[str, str]
) -> dict[str, str]:
    """Register documents, and return the paths of those that were taken by their places."""
    paths = {}
    for block in documents:
        text = block.text
        for place, stand_in in places.items():
            text = text.replace(place, stand_in)
        answer = client.post("/api/catalog/register", json={"content": text})
        if answer.is_success:
            paths[block.place] = answer.json()["path"]
            session.problems[block.place] = answer.json().get("problems") or []
        else:
            session.refusals[block.place] = answer.text
    return paths


async def _prepare_broker(url: str) -> None:
    """Create the streams and buckets of the pages about tools; the tools create nothing."""
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
        process.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def _tools_server() -> Iterator[str]:
    """Run a server of the protocol of tools that knows the weather."""
    with serving(_forecast) as server:
        yield server.url


def _forecast(request: Request) -> Response:
    said = request.json
    assert isinstance(said, dict)
    if "id" not in said:
        return Response(status=202)
    if said["method"] == "tools/call":
        city = said["params"]["arguments"]["city"]
        result = {"content": [{"type": "text", "text": f"sunny in {city}"}], "isError": False}
    else:
        result = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "weather", "version": "1"},
        }
    return Response({"jsonrpc": "2.0", "id": said["id"], "result": result})
