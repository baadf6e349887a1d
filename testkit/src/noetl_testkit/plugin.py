"""Pytest fixtures: real NATS and real PostgreSQL, started once a run, clean for each test.

`NOETL_NATS_URL` and `POSTGRES_HOST`, `…_PORT`, `…_USER`, `…_PASSWORD` point the shared fixtures at
servers of one's own; the fixtures named `own_…` always start theirs, because their tests kill them.
"""

import inspect
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from nats.aio.client import Client
from nats.js.client import JetStreamContext
from noetl.stack.servers.nats_probe import NatsProbe

from noetl_testkit.databases import UsedDatabases
from noetl_testkit.nats import (
    NatsServer,
    foreign_nats_url,
    running_nats,
    without_leftover_streams,
)
from noetl_testkit.postgres import (
    Database,
    OwnPostgresServer,
    PostgresServer,
    foreign_postgres,
    running_postgres,
)
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_testkit.warm.programs import use_warm_programs

_LOGGERS = structlog.get_config()["logger_factory"]
LOST_SECONDS = PATIENCE_SECONDS / 20
"""Longest time of a request over NATS.

An outage takes one away without a sign, unlike one over HTTP, whose connection ends. Who waits for
the end of an outage then asks again, which must come before the test's own bound.
"""

# Their libraries give up after 0.5 to 10 s where the caller says nothing, and that a busy machine
# takes longer is no failure. What the product gives its own clients stays as it is.
_CALLS = ("request", "stream", "get", "options", "head", "post", "put", "patch", "delete")
_HASTY: tuple[tuple[Callable[..., Any], str, float], ...] = (
    *((getattr(httpx, name), "timeout", PATIENCE_SECONDS) for name in _CALLS),
    (httpx.Client.__init__, "timeout", PATIENCE_SECONDS),
    (httpx.AsyncClient.__init__, "timeout", PATIENCE_SECONDS),
    (NatsProbe.__init__, "timeout_seconds", PATIENCE_SECONDS),
    (Client.connect, "connect_timeout", PATIENCE_SECONDS),
    (Client.request, "timeout", LOST_SECONDS),
    (Client.flush, "timeout", LOST_SECONDS),
    (JetStreamContext.__init__, "timeout", LOST_SECONDS),
)


def pytest_configure() -> None:
    """Let stacks be forks of a loaded process, and no client give up before its test does."""
    use_warm_programs()
    use_patient_clients()


def use_patient_clients() -> None:
    """Give more time to every call of this process that names none of its own."""
    for function, name, seconds in _HASTY:
        plain: Any = inspect.unwrap(function)
        if name in (plain.__kwdefaults__ or {}):
            plain.__kwdefaults__[name] = seconds
        else:
            parameters = inspect.getfullargspec(plain).args[-len(plain.__defaults__) :]
            defaults = dict(zip(parameters, plain.__defaults__, strict=True))
            plain.__defaults__ = tuple((defaults | {name: seconds}).values())


@pytest.fixture(scope="session")
def nats_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the NATS server that all tests of the run share."""
    foreign = foreign_nats_url()
    if foreign is not None:
        yield foreign
        return
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server.url


@pytest.fixture
def nats_url(nats_server_url: str) -> Iterator[str]:
    """Address of the shared NATS server; streams made by the test are deleted after it."""
    with without_leftover_streams(nats_server_url):
        yield nats_server_url


@pytest.fixture
def bus_prefix() -> str:
    """Return a word no other test uses, for names of streams and first tokens of subjects."""
    return f"t{secrets.token_hex(5)}"


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[NatsServer]:
    """Run a NATS server for this test alone, to be killed, restarted and wiped."""
    with running_nats(tmp_path / "own-nats") as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Run the PostgreSQL server that all tests of the run share."""
    foreign = foreign_postgres()
    if foreign is not None:
        yield foreign
        return
    with running_postgres(tmp_path_factory.mktemp("postgres") / "data") as server:
        yield server


@pytest.fixture(scope="session")
def database_template(postgres_server: PostgresServer) -> Iterator[str]:
    """Name of the migrated database that the tests' databases are cloned from."""
    with postgres_server.migrated_template() as name:
        yield name


@pytest.fixture(scope="session")
def used_databases(
    postgres_server: PostgresServer, database_template: str
) -> Iterator[UsedDatabases]:
    """Migrated databases that tests use one after the other."""
    databases = UsedDatabases(postgres_server, database_template)
    yield databases
    databases.close()


@pytest.fixture
def database(used_databases: UsedDatabases) -> Iterator[Database]:
    """Give this test a migrated and empty database for itself."""
    with used_databases.lent() as lent:
        yield lent


@pytest.fixture
def empty_database(postgres_server: PostgresServer) -> Iterator[Database]:
    """Create a database without our schema for this test alone."""
    with postgres_server.fresh() as fresh:
        yield fresh


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[OwnPostgresServer]:
    """Run a PostgreSQL server for this test alone, to be killed and restarted."""
    with running_postgres(tmp_path / "own-postgres") as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _no_stray_settings() -> Iterator[None]:
    """Keep settings of the caller's shell out of services that tests start."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if _is_stray(name)}
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session", autouse=True)
def _few_authorities() -> Iterator[None]:
    """Trust one authority: to read all of them takes each HTTP client a fiftieth of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(Path(__file__).with_name("authority.pem")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _short_tracebacks() -> None:
    """Log errors as the interpreter shows them.

    Without this structlog draws each with frames, colours and all variables: up to a
    second, in which a loop does nothing else and its clients give up.
    """
    *others, last = structlog.get_config()["processors"]
    if isinstance(last, structlog.dev.ConsoleRenderer):
        plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        structlog.configure(processors=[*others, plain])


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Undo the changes of a command in this process to its logs: their stream is closed."""
    if structlog.get_config()["logger_factory"] is not _LOGGERS:
        structlog.configure(logger_factory=_LOGGERS)


def _is_stray(name: str) -> bool:
    wanted = name == "NOETL_NATS_URL" or name.startswith("POSTGRES_")
    return name.startswith("NOETL_") and not wanted
