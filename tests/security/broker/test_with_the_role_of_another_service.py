"""An attacker has the database login of one service: statements that it doesn't permit."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from noetl.stack.servers import migrations
from noetl.stack.servers.roles import ROLES, statements
from noetl_orchestrator.log.retention import Retention
from noetl_pg.database import Database as Statements
from noetl_pg.errors import DatabaseUnavailable
from noetl_pg.rights import RoleNotMade, WrongRole, administer, check_rights
from noetl_testkit.postgres import Database, PostgresServer
from noetl_testkit.waiting import unless_it_hangs

SECRETS = ("credential", "keychain", "secret_audit", "api_key")


@dataclass(frozen=True)
class Attempt:
    """A statement that the role of a service must not be able to run."""

    service: str
    statement: str

    def __str__(self) -> str:
        return f"{self.service}: {self.statement}"


ATTEMPTS = [
    *(
        Attempt(service, f"SELECT * FROM noetl.{table}")
        for service in ("orchestrator", "outbox", "projector")
        for table in SECRETS
    ),
    Attempt("outbox", "SELECT * FROM noetl.result_store"),
    Attempt("outbox", "DELETE FROM noetl.event"),
    Attempt("outbox", "UPDATE noetl.command SET status = 'x'"),
    Attempt("projector", "INSERT INTO noetl.event SELECT * FROM noetl.event"),
    Attempt("projector", "UPDATE noetl.execution_state SET status = 'COMPLETED'"),
    Attempt("projector", "INSERT INTO noetl.outbox SELECT * FROM noetl.outbox"),
    Attempt("catalog", "SELECT * FROM noetl.event"),
    Attempt("catalog", "SELECT * FROM noetl.result_store"),
    Attempt("catalog", "DELETE FROM noetl.execution_state"),
    Attempt("orchestrator", "UPDATE noetl.catalog SET content = ''"),
    Attempt("orchestrator", "INSERT INTO noetl.result_store SELECT * FROM noetl.result_store"),
    *(
        Attempt(service, statement)
        for service in ROLES
        for statement in (
            "SELECT * FROM pg_authid",
            "SELECT pg_read_file('/etc/passwd')",
            "COPY (SELECT 1) TO PROGRAM 'id'",
            "CREATE ROLE mine SUPERUSER",
            "SET ROLE noetl",
            "ALTER TABLE noetl.credential OWNER TO CURRENT_USER",
            "DROP TABLE noetl.catalog",
        )
    ),
    *(
        Attempt(service, "CREATE TABLE noetl.mine (a INT)")
        for service in ("outbox", "projector", "catalog")
    ),
]


@pytest.fixture
async def logins(database: Database) -> dict[str, Database]:
    """Addresses of one database by service, each with the role of the service."""
    passwords = {role: secrets.token_hex(8) for role in ROLES.values()}
    await administer(database.dsn, roles=statements(passwords))
    return {
        service: Database(
            host=database.host,
            port=database.port,
            user=role,
            password=passwords[role],
            name=database.name,
        )
        for service, role in ROLES.items()
    }


async def test_what_belongs_to_others_is_refused(logins: dict[str, Database]) -> None:
    let: list[str] = []
    for service in ROLES:
        connection = await asyncpg.connect(logins[service].dsn)
        try:
            for attempt in ATTEMPTS:
                if attempt.service != service:
                    continue
                try:
                    await connection.execute(attempt.statement)
                except asyncpg.InsufficientPrivilegeError:
                    continue
                let.append(str(attempt))
        finally:
            await connection.close()

    assert let == []


@pytest.mark.parametrize("service", list(ROLES))
async def test_the_role_of_a_service_has_what_the_service_needs(
    logins: dict[str, Database], service: str
) -> None:
    async with asyncpg.create_pool(logins[service].dsn, min_size=1) as pool:
        await check_rights(pool, service=service, role=ROLES[service])


async def test_a_service_with_the_role_of_another_says_so(logins: dict[str, Database]) -> None:
    async with asyncpg.create_pool(logins["outbox"].dsn, min_size=1) as pool:
        with pytest.raises(
            WrongRole, match=r"the role noetl_outbox is not one for catalog: it lacks .*db-roles"
        ):
            await check_rights(pool, service="catalog", role="noetl_outbox")


async def test_the_orchestrator_makes_and_drops_partitions(logins: dict[str, Database]) -> None:
    async with asyncpg.create_pool(logins["orchestrator"].dsn, min_size=1) as pool:
        retention = Retention(Statements(pool))
        added = await retention.add_partitions(until=datetime(2029, 1, 1, tzinfo=UTC))
        dropped = await retention.drop_partitions(
            ended_before=datetime.now(UTC) - timedelta(days=30)
        )

    assert added
    assert dropped


async def test_rights_are_not_given_at_the_cost_of_who_works(database: Database) -> None:
    """A wait for a whole table in use would hold up all sessions that come after."""
    database.run("ALTER TABLE noetl.event OWNER TO CURRENT_USER")
    passwords = {role: secrets.token_hex(8) for role in ROLES.values()}
    busy = await asyncpg.connect(database.dsn)
    try:
        async with unless_it_hangs(), busy.transaction():
            await busy.execute("SELECT FROM noetl.event")
            with pytest.raises(DatabaseUnavailable, match="a table is in use"):
                await administer(database.dsn, roles=statements(passwords))
    finally:
        await busy.close()


async def test_migrations_need_no_superuser(
    postgres_server: PostgresServer, logins: dict[str, Database]
) -> None:
    """The owner of the database migrates it and gives the rights; another user makes the roles."""
    del logins  # the roles
    name, password = f"owner_{secrets.token_hex(4)}", secrets.token_hex(8)
    server = postgres_server.maintenance
    server.run(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    server.run(f"GRANT noetl_orchestrator TO {name}")
    server.run(f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0")
    mine = Database(host=server.host, port=server.port, user=name, password=password, name=name)
    try:
        migrations.migrate(mine.dsn)
        await administer(mine.dsn)
        owner = mine.run("SELECT tableowner FROM pg_tables WHERE tablename = 'event_default'")
        with pytest.raises(RoleNotMade, match=f"{name} can't make the roles"):
            await administer(mine.dsn, roles=statements({"noetl_new": "p"}))
    finally:
        server.run(f"DROP DATABASE {name} WITH (FORCE)")
        server.run(f"DROP ROLE {name}")

    assert owner == "noetl_orchestrator"
