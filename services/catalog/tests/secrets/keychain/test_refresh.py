"""Access tokens by a refresh token: one use at a time, and the token that replaces it stored."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import pytest
from noetl_contract.json import Json
from noetl_contract.rpc.projector import ExecutionOrigin
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.catalog.tests.providers.provider_server import Call, Clouds, running_clouds
from services.catalog.tests.world import World, open_world

ENTRY = "{name: crm, kind: oauth2, grant: refresh_token, endpoint: '@/token', credential: login}"
PLAYBOOK = f"""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: crm, path: demo/crm}}
keychain:
- {ENTRY}
- {{name: other, kind: oauth2, grant: refresh_token, endpoint: "@/token", credential: login,
   client_auth: basic, scope: mail}}
workflow:
- step: start
  tool: {{kind: noop}}
"""
EXECUTION = 100
NEAR_ITS_END = "UPDATE noetl.keychain SET expires_at = now() + interval '30 seconds'"


@dataclass
class Issuer:
    """Replaces its refresh token with each use, and takes the use of an old one for a theft."""

    number: int = 0
    thefts: int = 0
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)
    is_asked: threading.Event = field(default_factory=threading.Event)

    @property
    def token(self) -> str:
        return f"refresh-token-{self.number}"

    def __call__(self, call: Call) -> tuple[int, Json]:
        asked = parse_qs(call.body.decode())
        self.asked.append(asked)
        self.is_asked.set()
        self.answers.wait(10)
        if asked.get("refresh_token") != [self.token]:
            self.thefts += 1
            return 400, {"error": "invalid_grant"}
        self.number += 1
        access = f"access-token-{self.number}"
        return 200, {"access_token": access, "expires_in": 3600, "refresh_token": self.token}


@pytest.fixture(scope="module")
def clouds() -> Iterator[Clouds]:
    with running_clouds() as running:
        yield running


@pytest.fixture
def issuer(clouds: Clouds) -> Issuer:
    made = clouds.answers["/token"] = Issuer()
    made.answers.set()
    return made


@asynccontextmanager
async def catalogs(
    database: Database, nats_url: str, clouds: Clouds, *, many: int = 1, **more: Json
) -> AsyncIterator[World]:
    """Run some catalogs on one database and broker; the world is that of the first."""
    async with AsyncExitStack() as stack:
        worlds = [
            await stack.enter_async_context(open_world(database, nats_url, **more))
            for _ in range(many)
        ]
        world = worlds[0]
        for other in worlds[1:]:
            other.executions = world.executions
        content = PLAYBOOK.replace("@", clouds.url)
        catalog_id = int((await world.ok("register", content=content))["catalog_id"])
        for number in range(20):
            world.executions[EXECUTION + number] = ExecutionOrigin(
                catalog_id=catalog_id, workload={}
            )
        yield world


async def store(world: World, refresh_token: str) -> None:
    data = {"client_id": "app", "client_secret": "s", "refresh_token": refresh_token, "note": "n"}
    await world.ok("credential.create", name="login", type="generic", data=data)


async def stored(world: World) -> Json:
    found = await world.ok("credential.get", identifier="login", include_data=True)
    return found["data"]


async def use(world: World, alias: str = "crm", number: int = 0) -> Json:
    found = await world.ok(
        "credential.get", identifier=alias, include_data=True, execution_id=EXECUTION + number
    )
    return found["data"]


async def test_a_thousand_uses_at_once_send_a_refresh_token_once(
    database: Database, nats_url: str, clouds: Clouds, issuer: Issuer
) -> None:
    """Over two catalogs and twenty executions: without any token, then with one near its end."""
    async with catalogs(database, nats_url, clouds, many=2, rpc_concurrency=1000) as world:
        await store(world, issuer.token)
        first = await asyncio.gather(*(use(world, number=n % 20) for n in range(1000)))
        asked = len(issuer.asked)
        await world.pool.execute(NEAR_ITS_END)
        uses = await asyncio.gather(*(use(world, number=n % 20) for n in range(1000)))

        async def is_renewed() -> bool:
            return (await use(world))["access_token"] == "access-token-2"

        await eventually(is_renewed, what="the new token is given out")
        text, data = await world.stored("login"), await stored(world)

        async def has_no_leases() -> bool:
            leases = await world.pool.fetchval("SELECT count(*) FROM noetl.keychain_renewal")
            return bool(leases == 0)

        # The token is stored before its lease ends.
        await eventually(has_no_leases, what="no lease is left")
        audited = await world.audited(credential="login")

    assert asked == 1
    assert {one["access_token"] for one in first} == {"access-token-1"}
    assert {one["access_token"] for one in uses} <= {"access-token-1", "access-token-2"}
    assert all(one.keys() == {"access_token", "expires_in"} for one in first)
    assert issuer.asked == [
        {"grant_type": ["refresh_token"], "client_id": ["app"], "client_secret": ["s"],
         "refresh_token": [f"refresh-token-{number}"]}
        for number in (0, 1)
    ]  # fmt: skip
    # What the issuer has replaced is stored, encrypted, beside all that was there.
    assert data == {
        "client_id": "app", "client_secret": "s", "refresh_token": "refresh-token-2", "note": "n",
    }  # fmt: skip
    assert "refresh-token" not in text
    assert audited.count(("put_credential", "ok")) == 3


async def test_entries_with_one_login_use_it_one_after_the_other(
    database: Database, nats_url: str, clouds: Clouds, issuer: Issuer
) -> None:
    async with catalogs(database, nats_url, clouds, many=2) as world:
        await store(world, issuer.token)
        issuer.answers.clear()
        uses = asyncio.gather(
            *(use(world, alias, n) for n in range(20) for alias in ("crm", "other"))
        )

        async def are_both_wanted() -> bool:
            # A lease of each entry, and that of their login.
            leases = await world.pool.fetchval("SELECT count(*) FROM noetl.keychain_renewal")
            return bool(leases == 3 and issuer.asked)

        await eventually(are_both_wanted, what="both entries ask")
        issuer.answers.set()
        found = await uses

    assert {one["access_token"] for one in found} == {"access-token-1", "access-token-2"}
    assert (len(issuer.asked), issuer.thefts) == (2, 0)
    assert [one["scope"] for one in issuer.asked if "scope" in one] == [["mail"]]


async def test_a_refresh_token_is_stored_before_its_access_token(
    database: Database, nats_url: str, clouds: Clouds, issuer: Issuer
) -> None:
    """As where a process dies between the two: the next one goes on with the new one."""
    async with catalogs(database, nats_url, clouds) as world:
        await store(world, issuer.token)
        await world.pool.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'check_violation'; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON noetl.keychain"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        first = await use(world)
        kept = (await stored(world))["refresh_token"]
        await world.pool.execute("DROP TRIGGER refuse ON noetl.keychain")
        again = await use(world)

    assert (first["access_token"], kept) == ("access-token-1", "refresh-token-1")
    assert again["access_token"] == "access-token-2"
    assert issuer.thefts == 0


async def test_a_refresh_token_is_stored_by_a_database_that_fails_at_first(
    database: Database, nats_url: str, clouds: Clouds, issuer: Issuer
) -> None:
    """Once with an error, once because the record has changed meanwhile."""
    async with catalogs(database, nats_url, clouds) as world:
        await store(world, issuer.token)
        await world.pool.execute(
            "CREATE SEQUENCE tries;"
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " CASE nextval('tries')"
            " WHEN 1 THEN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full';"
            " WHEN 2 THEN RETURN NULL;"
            " ELSE RETURN NEW; END CASE; END $$;"
            "CREATE TRIGGER fail BEFORE UPDATE ON noetl.credential"
            " FOR EACH ROW EXECUTE FUNCTION fail();"
            "GRANT USAGE ON SEQUENCE tries TO PUBLIC"
        )
        found = await use(world)
        kept = (await stored(world))["refresh_token"]

    assert (found["access_token"], kept) == ("access-token-1", "refresh-token-1")
    assert len(issuer.asked) == 1


async def test_a_service_that_ends_stores_what_its_issuer_still_answers(
    database: Database, nats_url: str, clouds: Clouds, issuer: Issuer
) -> None:
    async with catalogs(database, nats_url, clouds) as world:
        await store(world, issuer.token)
        await use(world)
        await world.pool.execute(NEAR_ITS_END)
        issuer.answers.clear()
        issuer.is_asked.clear()
        await use(world)
        await asyncio.to_thread(issuer.is_asked.wait, PATIENCE_SECONDS)
        # While the service ends, which cancels the loop that asks.
        threading.Timer(0.2, issuer.answers.set).start()
    async with catalogs(database, nats_url, clouds) as world:
        kept = (await stored(world))["refresh_token"]

    assert (kept, issuer.number) == ("refresh-token-2", 2)


async def test_a_newer_refresh_token_of_an_operator_counts(
    database: Database, nats_url: str, clouds: Clouds, issuer: Issuer
) -> None:
    async with catalogs(database, nats_url, clouds) as world:
        await store(world, issuer.token)
        issuer.answers.clear()
        using = asyncio.create_task(use(world))
        await asyncio.to_thread(issuer.is_asked.wait, PATIENCE_SECONDS)
        await store(world, "by hand")
        issuer.answers.set()
        found = await using
        kept = (await stored(world))["refresh_token"]

    assert (found["access_token"], kept) == ("access-token-1", "by hand")


async def test_a_refresh_token_that_has_ended_is_named_until_there_is_another(
    database: Database, nats_url: str, clouds: Clouds, issuer: Issuer
) -> None:
    async with catalogs(database, nats_url, clouds, keychain_retry_seconds=0.2) as world:
        await store(world, "of long ago")

        async def answer() -> tuple[int, str]:
            reply = await world.ask(
                "credential.get", identifier="crm", include_data=True, execution_id=EXECUTION
            )
            return reply.status, reply.error or ""

        status, error = await answer()
        await world.ok("credential.create", name="login", type="generic", data={"client_id": "a"})

        async def is_missing() -> bool:
            return "the credential has no 'refresh_token'" in (await answer())[1]

        await eventually(is_missing, what="its lack is named")
        await store(world, issuer.token)
        found = await use(world)

    assert status == 502
    assert 'HTTP 400 {"error":"invalid_grant"} (it has ended or was replaced: store' in error
    assert "of long ago" not in error
    assert found["access_token"] == "access-token-1"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (ENTRY.replace("refresh_token", "password"), "'grant' is none of client_credentials, ref"),
        (ENTRY.replace(", credential: login", ""), "needs a 'credential' that holds the refresh"),
        (ENTRY.replace("}", ", data: {refresh_token: x}}"), "'refresh_token' comes with 'grant'"),
    ],
)
async def test_what_a_grant_lacks_is_said_at_registration(
    world: World, entry: str, problem: str
) -> None:
    reply = await world.ask("register", content=PLAYBOOK.replace(ENTRY, entry))

    assert reply.status == 422
    assert "keychain entry 'crm': '" in (reply.error or "")
    assert problem in (reply.error or "")
