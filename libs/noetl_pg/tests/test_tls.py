"""TLS to the database, with certificates made here."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from noetl.stack.servers.migrations import with_tls
from noetl_pg.pool import open_pool
from noetl_pg.settings import PostgresSettings, PostgresTls
from noetl_pg.tls import TlsMisconfigured as DatabaseTlsMisconfigured
from noetl_pg.tls import is_loopback, ssl_mode, tls_of
from noetl_testkit.postgres import OwnPostgresServer
from noetl_testkit.waiting import unless_it_hangs

from libs.noetl_common.tests.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


_WANTS_TLS = bytes.fromhex("0000000804d2162f")


class TlsFront:
    """Speaks TLS before a PostgreSQL server, as its own would: this build has none."""

    def __init__(self, server: OwnPostgresServer, pair: Pair) -> None:
        self._server = server
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair.certificate, pair.key)
        self.encrypted = 0
        self.port = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which has to begin with the wish for TLS."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(len(_WANTS_TLS)) == _WANTS_TLS:
                writer.write(b"S")
                await writer.start_tls(self._context)
                self.encrypted += 1
                back, forth = await asyncio.open_connection(
                    "127.0.0.1", self._server.maintenance.port
                )
                await asyncio.gather(self._copy(reader, forth), self._copy(back, writer))
        writer.close()

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        target.close()


@pytest.fixture
async def front(own_postgres: OwnPostgresServer, authority: Authority) -> AsyncIterator[TlsFront]:
    made = TlsFront(own_postgres, authority.issue("postgres"))
    listening = await asyncio.start_server(made.take, host=["127.0.0.1"])
    made.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield made


def database(
    server: OwnPostgresServer, front: TlsFront, *, root: Path, mode: str, host: str = "127.0.0.1"
) -> PostgresSettings:
    address = server.maintenance
    return PostgresSettings.model_validate(
        {
            **address.settings,
            "postgres_host": host,
            "postgres_port": front.port,
            "postgres_sslmode": mode,
            "postgres_sslrootcert": str(root),
        }
    )


async def test_a_service_checks_the_databases_certificate(
    own_postgres: OwnPostgresServer, front: TlsFront, authority: Authority, tmp_path: Path
) -> None:
    settings = database(own_postgres, front, root=authority.file, mode="verify-full")
    async with unless_it_hangs(), open_pool(settings, name="test") as pool:
        assert await pool.fetchval("SELECT 1") == 1
    assert front.encrypted

    other = Authority(tmp_path, "other")
    settings = database(own_postgres, front, root=other.file, mode="verify-full")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), open_pool(settings, name="test"):
            pass


async def test_the_name_is_checked_with_verify_full_only(
    own_postgres: OwnPostgresServer, front: TlsFront, authority: Authority
) -> None:
    """The certificate is for 127.0.0.1, the connection goes to localhost."""
    full = database(own_postgres, front, root=authority.file, mode="verify-full", host="localhost")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), open_pool(full, name="test"):
            pass
    authority_only = full.model_copy(update={"postgres_sslmode": "verify-ca"})
    async with unless_it_hangs(), open_pool(authority_only, name="test") as pool:
        assert await pool.fetchval("SELECT 1") == 1


def test_a_missing_root_is_an_error_by_name() -> None:
    settings = PostgresTls(postgres_sslmode="verify-full", postgres_sslrootcert="/no/such/file")
    with pytest.raises(DatabaseTlsMisconfigured, match="POSTGRES_SSLROOTCERT"):
        tls_of(settings, "db.example")


@pytest.mark.parametrize(
    ("host", "mode"),
    [
        ("localhost", "prefer"),
        ("127.0.0.1", "prefer"),
        ("::1", "prefer"),
        ("/run/postgresql", "prefer"),
        ("db.example", "verify-full"),
        ("10.0.0.1", "verify-full"),
        ("localhost.evil.example", "verify-full"),
    ],
)
def test_outside_of_this_machine_the_name_is_checked(host: str, mode: str) -> None:
    assert ssl_mode(host, None) == mode
    assert is_loopback(host) == (mode == "prefer")
    assert ssl_mode(host, "disable") == "disable"


def test_migrations_have_the_same_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_tls("postgres://u:p@127.0.0.1:1/d").endswith("/d?sslmode=disable")
    assert with_tls("postgres://u:p@db.example/d").endswith("/d?sslmode=verify-full")
    monkeypatch.setenv("POSTGRES_SSLMODE", "require")
    monkeypatch.setenv("POSTGRES_SSLROOTCERT", "/etc/root.pem")
    assert with_tls("postgres://u:p@db.example/d?x=1").endswith(
        "?x=1&sslmode=require&sslrootcert=%2Fetc%2Froot.pem"
    )
