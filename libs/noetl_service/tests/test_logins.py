"""Passwords of databases change while services run: nothing is lost, nothing is restarted."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest
from noetl_bus.broker import connect
from noetl_bus.rpc import handle, serve_rpc
from noetl_bus.settings import NatsSettings
from noetl_common.logins import LoginUnreadable
from noetl_common.shards import BadShardMap, parse_shards
from noetl_contract.http.secrets.credentials import CredentialBody
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import CREDENTIAL_PLATFORM, CredentialName
from noetl_pg.database import Database as Statements
from noetl_pg.errors import DatabaseUnavailable, DataConflict
from noetl_pg.pool import open_pool
from noetl_pg.settings import ClusterDatabaseSettings, ShardDatabaseSettings
from noetl_service.logins import StoredCredential, StoredLogin, database_login
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import eventually
from pydantic import SecretStr

OLD, NEW = "old-password", "new-password"


class Catalog:
    """Answers with one credential, and counts the requests."""

    def __init__(self) -> None:
        self.password: str | None = OLD
        self.asked = 0

    async def answer(self, request: CredentialName) -> CredentialBody | Refusal:
        self.asked += 1
        return self.read(request)

    def read(self, request: CredentialName) -> CredentialBody | Refusal:
        if self.password is None:
            return Refusal(403, f"Credential '{request.identifier}' may be used by playbooks")
        return CredentialBody(
            id="1", name=request.identifier, type="postgres", data={"db_password": self.password},
            created_at="", updated_at="",
        )  # fmt: skip


@pytest.fixture
def role(empty_database: Database) -> Iterator[str]:
    """A role that may log in with the old password, and write into one table."""
    name = f"r_{secrets.token_hex(4)}"
    database = empty_database
    database.run(
        f"CREATE ROLE {name} LOGIN PASSWORD '{OLD}';"
        " CREATE TABLE public.written (n INT PRIMARY KEY);"
        f" GRANT INSERT ON public.written TO {name}"
    )
    yield name
    database.run(f"DROP OWNED BY {name}; DROP ROLE {name}")


@asynccontextmanager
async def catalog_at(nats_url: str) -> AsyncIterator[tuple[Catalog, StoredCredential]]:
    catalog = Catalog()
    async with (
        connect(NatsSettings(nats_url=SecretStr(nats_url)), name="test") as bus,
        serve_rpc(bus, [handle(CREDENTIAL_PLATFORM, catalog.answer)], queue="fake"),
    ):
        login = database_login(ShardDatabaseSettings(postgres_credential="shard-0"), bus)
        assert isinstance(login, StoredLogin)
        yield catalog, login._credential


def settings_of(database: Database, role: str, **more: object) -> ShardDatabaseSettings:
    given = {"postgres_user": role, "postgres_password": SecretStr(""), "postgres_pool_max": 4}
    return ShardDatabaseSettings(**database.settings | given | more)


async def write_on(database: Statements, done: list[int], is_over: Callable[[], bool]) -> None:
    """Write numbers, each until it is accepted, as services retry transient failures."""
    while not is_over():
        number = len(done)
        done.append(number)
        while True:
            try:
                await database.execute_text(f"INSERT INTO public.written VALUES ({number})")
                break
            except DataConflict:
                break  # it was taken, and only the answer was lost
            except DatabaseUnavailable:
                await asyncio.sleep(0.01)


async def rotated(
    database: Database, role: str, statements: Statements, renew: Callable[[], object]
) -> list[int]:
    """Write from four sides while the password is changed and all connections are cut."""
    done: list[int] = []
    is_over = False

    async def has_begun() -> bool:
        return len(done) > 50

    async def has_gone_on() -> bool:
        return len(done) > at_change + 300

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(write_on(statements, done, lambda: is_over))
        await eventually(has_begun, what="all sides write")
        await asyncio.to_thread(database.run, f"ALTER ROLE {role} PASSWORD '{NEW}'")
        await asyncio.to_thread(
            database.run,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",
        )
        at_change = len(done)
        renew()
        await eventually(has_gone_on, what="writes go on with the new password")
        is_over = True
    return done


async def test_a_password_of_a_credential_is_changed_under_load(
    empty_database: Database, role: str, nats_url: str
) -> None:
    database = empty_database
    async with catalog_at(nats_url) as (catalog, credential):
        login = StoredLogin(role, credential, first=OLD)
        async with open_pool(settings_of(database, role), name="t", login=login) as pool:
            asked_at_first = catalog.asked

            def renew() -> None:
                catalog.password = NEW

            began = monotonic()
            done = await rotated(database, role, Statements(pool), renew)
            seconds = monotonic() - began

    assert asked_at_first == 0, "the first password serves until it is refused"
    # Once, and while the old password is still there once a second.
    assert catalog.asked <= 3 + seconds
    assert database.run("SELECT count(*) FROM public.written") == str(len(done))


async def test_a_password_of_a_file_is_changed_under_load(
    empty_database: Database, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = empty_database
    file = tmp_path / "password"
    file.write_text(OLD)
    monkeypatch.setenv("POSTGRES_PASSWORD_FILE", str(file))
    known = {k: v for k, v in database.settings.items() if k != "postgres_password"}
    settings = ShardDatabaseSettings(**known | {"postgres_user": role})
    async with open_pool(settings, name="t") as pool:
        done = await rotated(database, role, Statements(pool), lambda: file.write_text(NEW))

    assert settings.postgres_password_path == str(file)
    assert database.run("SELECT count(*) FROM public.written") == str(len(done))


async def test_a_credential_that_cannot_be_read_is_named(nats_url: str) -> None:
    async with catalog_at(nats_url) as (catalog, credential):
        catalog.password = None
        with pytest.raises(LoginUnreadable, match=r"credential 'shard-0' can't be read: .* may be"):
            await credential.fields()
        catalog.password = OLD
        known = await credential.fields()
        many = await asyncio.gather(*(credential.after_refusal(known) for _ in range(20)))

    assert known == {"db_password": OLD}
    # Asked again for the first of those that were refused, not for each.
    assert many == [known] * 20
    assert catalog.asked == 3


@pytest.mark.parametrize("is_readable", [True, False])
async def test_those_refused_while_it_is_asked_for_share_the_answer(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, *, is_readable: bool
) -> None:
    """However long the catalog takes; also if it refuses."""
    now = 1000.0
    monkeypatch.setattr("noetl_service.logins.monotonic", lambda: now)
    async with catalog_at(nats_url) as (catalog, credential):
        known = await credential.fields()
        catalog.password = OLD if is_readable else None
        answer = catalog.read

        def slow(request: CredentialName) -> CredentialBody | Refusal:
            nonlocal now
            now += 5.0
            return answer(request)

        monkeypatch.setattr(catalog, "read", slow)
        many = await asyncio.gather(
            *(credential.after_refusal(known) for _ in range(20)), return_exceptions=True
        )

    assert catalog.asked == 2
    assert many.count(known) == (20 if is_readable else 19)
    assert is_readable or isinstance(many[0], LoginUnreadable)


def test_the_shard_map_names_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = "host=a;user=u;credential=shard-0,host=b;user=u;password=p;credential=shard-1"
    monkeypatch.setenv("NOETL_SHARDS", entries)
    shards = parse_shards(entries)
    settings = ShardDatabaseSettings(shard_index=1)

    assert [one.credential for one in shards] == ["shard-0", "shard-1"]
    assert parse_shards(",".join(one.entry for one in shards)) == shards
    assert settings.postgres_credential == "shard-1"
    assert settings.postgres_password.get_secret_value() == "p"
    with pytest.raises(
        BadShardMap, match=r"NOETL_CLUSTER_DSN: .* credential 'shard-0', which is stored"
    ):
        ClusterDatabaseSettings()
    monkeypatch.setenv("NOETL_CLUSTER_DSN", "host=c;user=u;password=p")
    monkeypatch.setenv("NOETL_POSTGRES_CREDENTIAL", "shard-0")
    assert not ClusterDatabaseSettings().postgres_credential
