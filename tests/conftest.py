"""The stacks that the tests of this folder share; those that harm a stack start their own."""

import asyncio
import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from golden import TOKEN
from noetl_testkit.shared_stacks import SharedStacks, stack_of
from noetl_testkit.stack import Stack, running_stack
from real_playbooks import DATABASE

from .security.access.callers import ASKING

_STACKS = pytest.StashKey[SharedStacks]()
_UI = os.environ.get("NOETL_TEST_UI_DIR") or str(
    Path(__file__).parent / "e2e" / "console" / "stand_in"
)
# A service that is merely kept waiting for a processor is no refusal.
_PATIENT = {
    f"NOETL_{name}_PATIENCE_SECONDS": "60" for name in ("REQUEST", "START", "RESOLVE", "EXISTS")
}
_SETTINGS = {
    "nats": {"NOETL_WORKER_TRANSPORT": "nats", "NOETL_UI_DIR": _UI},
    # `NOETL_INGRESS` may say one setting for both transports: `make acceptance`.
    "http": {
        "NOETL_WORKER_TRANSPORT": "http",
        "NOETL_INGRESS": os.environ.get("NOETL_INGRESS", "stream"),
    },
    "edge": {
        # Their tests wait for them; who is served well sends in a moment, of a busy machine too.
        "NOETL_HEAD_SECONDS": "3",
        "NOETL_BODY_SILENCE_SECONDS": "3",
        "NOETL_BODY_SECONDS": "10",
        "NOETL_UNREAD_SECONDS": "3",
        "NOETL_MAX_CONNECTIONS_PER_ADDRESS": "200",
        "NOETL_MAX_BUFFERED_BODY_BYTES": str(64 << 20),
        "NOETL_MAX_EVENT_STREAMS_PER_ADDRESS": "8",
        "NOETL_RATE_LIMITING": "on",
        "NOETL_RATE_LIMITS": "starts 5/s 20, registrations 5/s 20, secrets 5/s 40, sql 2/s 5",
        "NOETL_ALLOWED_HOSTS": "noetl.example.org,*.pods.example",
        "NOETL_CORS_ALLOWED_ORIGINS": "https://ui.example",
    },
    "guarded": {
        "NOETL_SQL_CONSOLE_ELSEWHERE": "true",
        "NOETL_INTERNAL_API_TOKEN": TOKEN,
        "NOETL_ENCRYPTION_KEY": base64.b64encode(bytes(range(32))).decode(),
    },
    "asking": ASKING,
}


@contextmanager
def _prepared_stack(name: str) -> Iterator[Stack]:
    """Run a stack with the database and the credentials that playbooks name."""
    # One that is started as its users start it.
    is_warm = name != "nats"
    with running_stack(environment={**_PATIENT, **_SETTINGS[name]}, is_warm=is_warm) as stack:
        asyncio.run(_create_database(stack))
        login = stack.database_login(DATABASE)
        with stack.client() as client:
            for alias in ("pg_k8s", "pg_local"):
                body = {"name": alias, "type": "postgres", "data": login}
                client.post("/api/credentials", json=body).raise_for_status()
        yield stack


async def _create_database(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.dsn())
    try:
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()


def _stacks(config: pytest.Config) -> SharedStacks:
    return config.stash.setdefault(_STACKS, SharedStacks(_prepared_stack))


@pytest.fixture(scope="module")
def nats_stack(pytestconfig: pytest.Config) -> Stack:
    """A stack as it comes; tests leave each other's executions, paths and names alone."""
    return _stacks(pytestconfig).get("nats")


@pytest.fixture(scope="module")
def edge_stack(pytestconfig: pytest.Config) -> Stack:
    """A stack whose edge has short timeouts for its clients."""
    return _stacks(pytestconfig).get("edge")


@pytest.fixture(scope="module")
def guarded_stack(pytestconfig: pytest.Config) -> Stack:
    """A stack with a token for the internal routes and with a known key."""
    return _stacks(pytestconfig).get("guarded")


@pytest.fixture(scope="module")
def asking_stack(pytestconfig: pytest.Config) -> Stack:
    """A stack whose edge asks for logins."""
    return _stacks(pytestconfig).get("asking")


@pytest.fixture(scope="module", params=["nats", "http"])
def transport_stack(request: pytest.FixtureRequest) -> Stack:
    """A stack for each transport of the workers: as it comes, and HTTP with the stream first."""
    return _stacks(request.config).get(request.param)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the shared stack after its last test."""
    if stack_of(item) != stack_of(nextitem):
        _stacks(item.config).close()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the shared stack of a run that was broken off."""
    _stacks(session.config).close()
