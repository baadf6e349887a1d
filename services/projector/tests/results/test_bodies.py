"""Bodies of results in every place: stored, read, verified, removed (docs/results.md)."""

import asyncio
import logging
import threading
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Raw
from noetl_bus.broker import Bus, connect
from noetl_bus.rpc import handle, serve_rpc
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.secrets.credentials import CredentialBody
from noetl_contract.json import encode
from noetl_contract.rpc import RpcReply
from noetl_contract.rpc.catalog import CREDENTIAL_PLATFORM, CredentialName
from noetl_contract.rpc.projector import (
    RESULT_GET,
    RESULT_PUT,
    RESULT_RESOLVE,
    NamedResult,
    ResultPut,
    ResultRef,
)
from noetl_pg.database import Database
from noetl_projector.results.bodies.bucket import BucketPlace
from noetl_projector.results.bodies.place import BodyDamaged, BodyGone, PlaceUnavailable
from noetl_projector.results.bodies.places import Places, open_places
from noetl_projector.results.handlers import ResultHandlers
from noetl_projector.results.removal import remove_bodies
from noetl_projector.results.store import ResultStore
from noetl_projector.settings import Settings
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from pydantic import SecretStr, ValidationError

from services.projector.tests.conftest import Ask, Pool

DATA = {"rows": [1, 2, 3]}
URI = "noetl://execution/4/result/fetch/9"
OUTSIDE = ["object", "s3", "gcs"]
BUCKETS = ["s3", "gcs"]


@pytest.fixture(autouse=True)
def _patient_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("bucket", "object_store"):
        place = f"noetl_projector.results.bodies.{kind}"
        monkeypatch.setattr(f"{place}._PROBE_SECONDS", PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """A server of S3; the requests that places make of Cloud Storage are the same in its XML."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 -- 0.3 s of each process of a run

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    httpx.put(f"{url}/results", trust_env=False).raise_for_status()
    yield url
    server.stop()


class PickyBucket:
    """A bucket that takes one key's id, or one account, at a time, and keeps what it was given."""

    def __init__(self) -> None:
        self.key_id = "old"
        self.bodies: dict[str, bytes] = {}
        self.refused = 0

    @contextmanager
    def running(self) -> Iterator[str]:
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self._is_known():
                    bucket.bodies[self.path.partition("?")[0]] = body
                    self._answer(200, b"")

            def do_GET(self) -> None:
                if self._is_known():
                    self._answer(200, bucket.bodies[self.path.partition("?")[0]])

            def _is_known(self) -> bool:
                if bucket.key_id == _who(self.headers.get("authorization", "")):
                    return True
                bucket.refused += 1
                self._answer(403, b"<Error><Code>InvalidAccessKeyId</Code></Error>")
                return False

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                for name, value in (
                    ("content-length", str(len(body))),
                    ("etag", '"e"'),
                    ("last-modified", "Fri, 01 Jan 2027 00:00:00 GMT"),
                ):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _who(authorization: str) -> str:
    """Return the key's id of a signature, or the account that has signed a token."""
    scheme, _, rest = authorization.partition(" ")
    if scheme != "Bearer":
        return rest.removeprefix("Credential=").partition("/")[0]
    claims = rest.split(".")[1]
    issuer: str = orjson.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["iss"]
    return issuer


def account(name: str) -> dict[str, str]:
    """Return a new key of a service account."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {"client_email": name, "private_key": pem, "private_key_id": "1"}


@dataclass
class Bench:
    """Handlers with one kind of place, their store and their bus."""

    ask: Ask
    places: Places
    store: ResultStore
    pool: Pool
    bus: Bus

    async def put(self, data: Any = DATA, *, result_id: int = 9) -> RpcReply:
        return await self.ask(
            RESULT_PUT,
            ResultPut(execution_id=4, result_id=result_id, name="fetch", data=Raw(encode(data))),
        )

    async def resolve(self, uri: str = URI) -> RpcReply:
        return await self.ask(RESULT_RESOLVE, ResultRef(ref=uri))

    async def location(self) -> tuple[str, str]:
        row = await self.pool.fetchrow("SELECT store, location, data FROM noetl.result_store")
        assert row is not None
        assert row["data"] is None
        return row["store"], row["location"]

    async def make_due(self) -> None:
        await self.pool.execute("UPDATE noetl.result_body_removal SET due_at = now()")

    async def removals(self) -> int:
        count: int = await self.pool.fetchval("SELECT count(*) FROM noetl.result_body_removal")
        return count


type StartBench = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def start(nats_url: str, pool: Pool, db: Database, s3_url: str) -> StartBench:
    @asynccontextmanager
    async def begin(kind: str, **changes: Any) -> AsyncIterator[Bench]:
        values: dict[str, Any] = {
            "result_store": kind,
            "result_s3_bucket": "results",
            "result_s3_prefix": "deep/er/",
            "result_s3_endpoint": s3_url,
            "result_gcs_bucket": "results",
            "result_gcs_prefix": "cloud/",
            "result_gcs_endpoint": s3_url,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "result_transfer_seconds": PATIENCE_SECONDS,
        }
        settings = Settings(nats_url=SecretStr(nats_url), **{**values, **changes})
        store = ResultStore(db)
        async with connect(settings, name="test") as bus:
            places = open_places(settings, bus)
            handlers = ResultHandlers(
                store, bus=bus, settings=settings, ids=SnowflakeIds(7), places=places
            )
            yield Bench(Ask(handlers.handlers()), places, store, pool, bus)

    return begin


@pytest.mark.parametrize("kind", OUTSIDE)
async def test_a_body_outside_is_kept_and_found(start: StartBench, kind: str) -> None:
    async with start(kind) as bench:
        kept = (await bench.put()).body
        await bench.put()

        assert (kept["store"], kept["bytes"]) == (kind, 16)
        assert (await bench.resolve()).body == DATA
        newest = (await bench.ask(RESULT_GET, NamedResult(execution_id=4, name="fetch"))).body
        assert newest["data"] == DATA
        assert newest["sha256"] == kept["sha256"] == sha256(orjson.dumps(DATA)).hexdigest()
        assert (await bench.location())[0] == kind


@pytest.mark.parametrize("kind", OUTSIDE)
async def test_a_body_of_many_pieces_comes_back_whole(start: StartBench, kind: str) -> None:
    data = {"text": [f"{number:07}" for number in range(2_000_000)]}
    body = orjson.dumps(data)
    async with start(kind) as bench:
        place = bench.places.chosen
        assert place is not None
        location = place.location("big")
        await place.put(location, body)

        digest = sha256(body).hexdigest()
        assert await bench.places.read(kind, location, size=len(body), digest=digest) == body
        await place.delete(location)
        with pytest.raises(BodyGone, match="big"):
            await place.get(location, size=len(body))


async def test_w13_other_content_under_a_known_id_changes_nothing(start: StartBench) -> None:
    async with start("s3") as bench:
        await bench.put("first")
        await bench.put("second")

        assert (await bench.resolve()).body == "first"
        await bench.make_due()
        assert await remove_bodies(bench.store, bench.places, limit=10) == 1
        assert (await bench.resolve()).body == "first"


@pytest.mark.parametrize(
    ("before", "after"), [("db", "s3"), ("s3", "gcs"), ("gcs", "object"), ("object", "db")]
)
async def test_old_results_stay_readable_when_the_place_changes(
    start: StartBench, before: str, after: str
) -> None:
    async with start(before) as bench:
        await bench.put()
    async with start(after) as bench:
        await bench.put("new", result_id=10)

        assert (await bench.resolve()).body == DATA
        assert (await bench.resolve("noetl://execution/4/result/fetch/10")).body == "new"


async def test_another_bucket_leaves_old_results_readable(start: StartBench, s3_url: str) -> None:
    async with start("s3") as bench:
        await bench.put()
    async with httpx.AsyncClient(trust_env=False) as client:
        (await client.put(f"{s3_url}/others")).raise_for_status()
    async with start("s3", result_s3_bucket="others", result_s3_prefix="") as bench:
        assert (await bench.resolve()).body == DATA


async def test_a_place_that_is_set_no_more_is_named(start: StartBench) -> None:
    async with start("s3") as bench:
        await bench.put()
    async with start("db", result_s3_bucket="") as bench:
        reply = await bench.resolve()

    assert reply.status == 503
    assert reply.error == (
        "the result store 's3' is not available: the settings say nothing about it"
    )


@pytest.mark.parametrize("kind", OUTSIDE)
async def test_deleted_results_lose_their_bodies(start: StartBench, kind: str) -> None:
    async with start(kind) as bench:
        await bench.put()
        store, location = await bench.location()
        assert await remove_bodies(bench.store, bench.places, limit=10) == 0
        await bench.pool.execute("DELETE FROM noetl.result_store")

        assert await remove_bodies(bench.store, bench.places, limit=10) == 1
        assert await remove_bodies(bench.store, bench.places, limit=10) == 0
        assert await bench.removals() == 0
        with pytest.raises(BodyGone):
            await bench.places.read(store, location, size=16, digest="")
        if kind == "object":
            info = await bench.bus.js.stream_info("OBJ_noetl_results")
            assert info.state.messages == 0


async def test_a_result_with_a_time_is_deleted_when_that_is_over(start: StartBench) -> None:
    async with start("s3") as bench:
        wanted = {"execution_id": 4, "result_id": 8, "name": "ingress", "data": Raw(b"1")}
        await bench.ask(RESULT_PUT, ResultPut(**wanted, expires_seconds=3600))
        await bench.put()
        assert await bench.store.delete_expired_results(limit=10) == 0
        await bench.pool.execute(
            "UPDATE noetl.result_store SET expires_at = now() WHERE expires_at IS NOT NULL"
        )

        assert await bench.store.delete_expired_results(limit=10) == 1
        assert await remove_bodies(bench.store, bench.places, limit=10) == 1
        assert (await bench.resolve()).body == DATA
        assert (await bench.resolve("noetl://execution/4/result/ingress/8")).status == 404


async def test_a_body_whose_result_never_came_is_removed(start: StartBench) -> None:
    async with start("s3") as bench:
        place = bench.places.chosen
        assert place is not None
        location = place.location("4/1-lost")
        await bench.store.announce_body("s3", location=location, seconds=3600)
        await place.put(location, b"x")

        assert await remove_bodies(bench.store, bench.places, limit=10) == 0
        await bench.make_due()
        assert await remove_bodies(bench.store, bench.places, limit=10) == 1
        with pytest.raises(BodyGone):
            await place.get(location, size=1)


async def test_a_body_that_a_result_names_is_forgotten_not_removed(start: StartBench) -> None:
    async with start("s3") as bench:
        await bench.put()
        _, location = await bench.location()
        await bench.store.announce_body("s3", location=location, seconds=0)

        assert await remove_bodies(bench.store, bench.places, limit=10) == 0
        assert await bench.removals() == 0
        assert (await bench.resolve()).body == DATA


@pytest.mark.parametrize("kind", BUCKETS)
@pytest.mark.parametrize("content", [b'{"rows":[1,2,4]}', b"short"])
async def test_a_damaged_body_is_no_result(start: StartBench, kind: str, content: bytes) -> None:
    async with start(kind) as bench:
        await bench.put()
        _, location = await bench.location()
        place = bench.places.chosen
        assert place is not None
        await place.put(location, content)

        reply = await bench.resolve()

    assert (reply.status, reply.error) == (500, BodyDamaged(store=kind, location=location).message)


@pytest.mark.parametrize("kind", BUCKETS)
async def test_a_place_that_is_away_refuses_and_unreadies(start: StartBench, kind: str) -> None:
    away = {f"result_{kind}_endpoint": "http://127.0.0.1:9"}
    async with start(kind, result_transfer_seconds=1.0, **away) as bench:
        reply = await bench.put()

        assert reply.status == 503
        assert str(reply.error).startswith(f"the result store '{kind}' is not available: ")
        assert not await bench.places.is_ready()
        assert (await bench.resolve()).status == 404
        # A failed removal is tried again later.
        await bench.make_due()
        assert await remove_bodies(bench.store, bench.places, limit=10) == 1
        assert await remove_bodies(bench.store, bench.places, limit=10) == 0
        assert await bench.removals() == 1


@pytest.mark.parametrize("kind", BUCKETS)
async def test_a_missing_bucket_is_named(start: StartBench, kind: str) -> None:
    async with start(kind, **{f"result_{kind}_bucket": "nowhere"}) as bench:
        assert not await bench.places.is_ready()
        assert isinstance(bench.places.chosen, BucketPlace)
        with pytest.raises(PlaceUnavailable, match="nowhere"):
            await bench.places.chosen.is_ready()


@pytest.mark.parametrize("kind", ["db", *OUTSIDE])
async def test_a_place_that_answers_is_ready(start: StartBench, kind: str) -> None:
    async with start(kind) as bench:
        assert await bench.places.is_ready()
        assert await bench.places.is_ready()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"result_store": "s3"}, "NOETL_RESULT_STORE=s3 needs NOETL_RESULT_S3_BUCKET"),
        ({"AWS_ACCESS_KEY_ID": "a"}, "go together"),
        ({"result_store": "gcs"}, "NOETL_RESULT_STORE=gcs needs NOETL_RESULT_GCS_BUCKET"),
        ({"result_gcs_key": "{}"}, "NOETL_RESULT_GCS_KEY is no key of a service account"),
        ({"result_store": "disk"}, "'db', 'object', 's3' or 'gcs'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings(**changes)


@pytest.mark.parametrize(
    ("store", "keys", "lacking"),
    [
        ("s3", lambda name: {"access_key_id": name, "secret_access_key": "s"}, "access_key_id or"),
        ("gcs", account, "client_email or private_key"),
    ],
)
async def test_keys_of_a_credential_are_changed_without_a_restart(
    start: StartBench, store: str, keys: Callable[[str], dict[str, str]], lacking: str
) -> None:
    bucket, kept = PickyBucket(), keys("old")

    async def answer(request: CredentialName) -> CredentialBody:
        return CredentialBody(
            id="1", name=request.identifier, type="aws", data=dict(kept), created_at="",
            updated_at="",
        )  # fmt: skip

    with bucket.running() as url:
        changes = {f"result_{store}_endpoint": url, f"result_{store}_credential": "bucket"}
        async with start(store, **changes) as bench:
            place = bench.places.chosen
            assert place is not None
            location = place.location("a")
            async with serve_rpc(bench.bus, [handle(CREDENTIAL_PLATFORM, answer)], queue="fake"):
                await place.put(location, b"one")
                bucket.key_id = "new"
                kept |= keys("new")
                many = await asyncio.gather(
                    *(place.put(f"{location}{n}", b"two") for n in range(20))
                )
                assert await place.get(f"{location}7", size=3) == b"two"
                bucket.key_id = "third"
                with pytest.raises(PlaceUnavailable, match="lacked the necessary privileges"):
                    await place.get(location, size=3)
                kept.clear()

                async def lacks() -> bool:
                    with pytest.raises(PlaceUnavailable) as caught:
                        await place.get(location, size=3)
                    return f"the credential of the bucket lacks {lacking}" in str(caught.value)

                # It is read again after a second.
                await eventually(lacks, what="what the credential lacks is named")

    assert len(many) == 20
    assert len(bucket.bodies) == 21


async def test_a_key_of_a_service_account_signs_what_is_asked(start: StartBench) -> None:
    async with start("gcs", result_gcs_key=orjson.dumps(account("a@b.example")).decode()) as bench:
        await bench.put()

        assert (await bench.resolve()).body == DATA
