"""fakesnow as a child process, and a toolbox with the tool, for all tests here."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.control_plane.edge import open_edge
from noetl_worker.interpreters.nursery import InterpreterLimits
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.settings import Settings
from noetl_worker.tools.registry import ToolRegistry, load_tools
from noetl_worker.tools.tool import ToolContext, ToolParts, ToolResult

FRONT = Path(__file__).with_name("front.py")
PASSWORD = "a password"
PASSPHRASE = "a phrase"


@dataclass(frozen=True)
class Keys:
    """A key pair, as credentials have it."""

    private: str
    encrypted: str
    public: str


def make_keys() -> Keys:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (Encoding.PEM, PrivateFormat.PKCS8)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Keys(
        private=key.private_bytes(*form, NoEncryption()).decode(),
        encrypted=key.private_bytes(*form, BestAvailableEncryption(PASSPHRASE.encode())).decode(),
        public=public.decode(),
    )


@pytest.fixture(scope="session")
def keys() -> Keys:
    return make_keys()


@dataclass
class Fakesnow:
    """A running server."""

    port: int
    databases: int = 0
    client: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def seen(self, path: str = "/queries/v1/query-request") -> list[dict[str, Any]]:
        """Return the requests to a path, in order."""
        found = self.client.get(f"{self.address}/seen").json()
        return [one for one in found if one["path"] == path]

    def login(self, **more: Any) -> dict[str, Any]:
        """Return a configuration with its credential's values; a first login makes its database."""
        where = {"host": "127.0.0.1", "port": self.port, "protocol": "http"}
        who = {"account": "acme-one", "user": "ann", "password": PASSWORD}
        return {**where, **who, "database": f"db{self.databases}", **more}


@pytest.fixture(scope="session")
def server(keys: Keys) -> Iterator[Fakesnow]:
    python = os.environ.get("FAKESNOW_PYTHON")
    if python is None:
        pytest.skip("needs fakesnow and the driver: make snowflake")
    users = {"ann": {"password": PASSWORD}, "bot": {"key": keys.public}}
    process = subprocess.Popen(
        [python, str(FRONT), json.dumps(users)], stdout=subprocess.PIPE, stderr=sys.stderr
    )
    assert process.stdout is not None
    with process:
        running = Fakesnow(int(process.stdout.readline()))
        try:
            yield running
        finally:
            running.client.close()
            process.kill()


@pytest.fixture
def fakesnow(server: Fakesnow, monkeypatch: pytest.MonkeyPatch) -> Fakesnow:
    """The server, with a database that no other test has."""
    servers = f"{server.address},http://127.0.0.1:1"
    monkeypatch.setenv("NOETL_WORKER_SNOWFLAKE_SERVERS", servers)
    server.databases += 1
    return server


@dataclass
class Bench:
    """The tools of a worker."""

    toolbox: ToolRegistry

    async def run(self, kind: str, config: dict[str, Any]) -> ToolResult:
        context = ToolContext(
            variables={}, execution_id=7, step="load", server_url="", toolbox=self.toolbox
        )
        return await self.toolbox.run(kind, config, context)


@pytest.fixture
async def bench(fakesnow: Fakesnow) -> AsyncIterator[Bench]:  # noqa: ARG001  its setting
    settings = Settings(worker_sql_result_bytes=16 << 20)
    limits = InterpreterLimits(memory_bytes=0, file_bytes=0, output_bytes=0, result_bytes=0)
    pool = InterpreterPool(executable=None, limits=limits, size=1, keeping=None)  # type: ignore[arg-type]
    async with open_tool_client(seconds=5) as http, open_edge(settings) as edge:
        parts = ToolParts(settings=settings, http=http, interpreters=pool, edge=edge)
        tools = load_tools(parts)
        yield Bench(tools)
        await tools.close()
