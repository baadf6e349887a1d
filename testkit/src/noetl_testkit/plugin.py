"""Pytest fixtures: real NATS and real PostgreSQL, started once a run, clean for each test.

`NOETL_NATS_URL` and `POSTGRES_HOST`, `…_PORT`, `…_USER`, `…_PASSWORD` point the shared fixtures at
servers of one's own; the fixtures named `own_…` always start theirs, because their tests kill them.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from noetl_testkit.databases import UsedDatabases
from noetl_testkit.nats import (
    NatsServer,
    foreign_nats_url,
    running_nats,
    without_leftover_streams,
)
from noetl_testkit.patience import use_patient_clients
from noetl_testkit.postgres import (
    Database,
    OwnPostgresServer,
    PostgresServer,
    foreign_postgres,
    running_postgres,
)
from noetl_testkit.warm.programs import use_warm_programs

_LOGGERS = structlog.get_config()["logger_factory"]


def pytest_configure() -> None:
    """Let stacks be forks of a loaded process, and no client give up before its test does."""
    use_warm_programs()
    use_patient_clients()


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

    Unless told otherwise structlog draws each with frames, colours and all variables: up to a
    second, in which a loop does nothing else and its clients give up.
    """
    *others, last = structlog.get_config()["processors"]
    if isinstance(last, structlog.dev.ConsoleRenderer):
        plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        structlog.configure(processors=[*others, plain])


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Undo what a command that ran in this process did to its logs: their stream is closed."""
    if structlog.get_config()["logger_factory"] is not _LOGGERS:
        structlog.configure(logger_factory=_LOGGERS)


def _is_stray(name: str) -> bool:
    wanted = name == "NOETL_NATS_URL" or name.startswith("POSTGRES_")
    return name.startswith("NOETL_") and not wanted
