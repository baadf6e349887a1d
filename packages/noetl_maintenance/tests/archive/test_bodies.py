"""Results that lie in buckets go into an archive and come back to their buckets."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from noetl.backup.manifest import digest
from noetl.stack.errors import StackError
from noetl_common.shards import DatabaseAddress
from noetl_maintenance.archive import reading
from noetl_maintenance.archive.bodies import Buckets
from noetl_maintenance.archive.manifest import volumes
from noetl_maintenance.archive.place import Place
from noetl_maintenance.archive.writing import Written, write
from noetl_testkit.postgres import Database

from packages.noetl_maintenance.tests.archive.test_archive import IDS, NOW, add, everything, flipped

BODY = b'{"rows": [1.50, "\\u0000"]}'
OTHER = b'"other"'


def ask(method: str, url: str, *, content: bytes = b"") -> bytes:
    """Send a request to the server, which takes any bearer token; return its answer."""
    headers = {"authorization": "Bearer none"}
    answer = httpx.request(method, url, content=content, headers=headers, trust_env=False)
    answer.raise_for_status()
    return answer.content


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of S3, with the words of Cloud Storage as well."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 -- 0.3 s of each process of a run

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    for bucket in ("results", "cloud", "archives"):
        ask("PUT", f"{url}/{bucket}")
    yield url
    server.stop()


@pytest.fixture
def url(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
        "NOETL_RESULT_S3_BUCKET": "results",
        "NOETL_RESULT_S3_ENDPOINT": server,
        "NOETL_RESULT_GCS_BUCKET": "cloud",
        "NOETL_RESULT_GCS_ENDPOINT": server,
    }.items():
        monkeypatch.setenv(name, value)
    return server


def add_result(
    database: Database, tmp_path: Path, url: str, number: int, *, store: str, body: bytes
) -> str:
    """Add a result whose body lies in a bucket; return its address."""
    bucket = {"s3": "results", "gcs": "cloud", "object": "nats"}[store]
    location = f"{bucket}/{IDS[0]}/{number}"
    file = tmp_path / f"body-{number}"
    file.write_bytes(body)
    if store != "object":
        ask("PUT", f"{url}/{location}", content=body)
    database.run(
        "INSERT INTO noetl.result_store"
        " (result_id, execution_id, name, scope, bytes, sha256, store, location)"
        f" VALUES ({number}, {IDS[0]}, 'big{number}', 's', {len(body)}, '{digest(file)}',"
        f" '{store}', '{location}')"
    )
    return f"{url}/{location}"


def written(address: DatabaseAddress, place: Place) -> Written:
    return write([address], place, ended_before=NOW, say=lambda _: None, buckets=Buckets.opened())


@pytest.fixture
def address(database: Database) -> DatabaseAddress:
    return database.address


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_results_of_buckets_are_in_the_archive_and_come_back(
    database: Database, address: DatabaseAddress, tmp_path: Path, url: str, kind: str
) -> None:
    add(database, IDS[0])
    places = [
        add_result(database, tmp_path, url, 1, store="s3", body=BODY),
        add_result(database, tmp_path, url, 2, store="gcs", body=OTHER),
        add_result(database, tmp_path, url, 3, store="s3", body=BODY),
    ]
    before = everything(database)
    place = Place.at(
        str(tmp_path / "archive") if kind == "folder" else "s3://archives/whole", make=True
    )

    done = written(address, place)
    assert (done.executions, done.bodies, done.missing) == (1, 2, [])
    proof = reading.prove(place)
    assert (proof.bodies, proof.problems) == (2, [])
    reading.detach([address], IDS[:1])
    for one in places:
        ask("DELETE", one)

    reading.attach([address], place, IDS[:1], buckets=Buckets.opened())

    assert everything(database) == before
    found = [ask("GET", one) for one in places]
    assert found == [BODY, OTHER, BODY]
    # What waited for its removal doesn't any more.
    waiting = database.run("SELECT count(*) FROM noetl.result_body_removal")
    assert waiting.strip() == "0"


def test_a_body_that_is_damaged_or_lost_in_the_archive_is_found(
    database: Database, address: DatabaseAddress, tmp_path: Path, url: str
) -> None:
    add(database, IDS[0])
    add_result(database, tmp_path, url, 1, store="s3", body=BODY)
    place = Place.at(str(tmp_path / "archive"), make=True)
    written(address, place)
    (file,) = (tmp_path / "archive").rglob("bodies/*")

    with flipped(file):
        (problem,) = reading.prove(place).problems
        assert file.name in problem
        assert "damaged" in problem
        reading.detach([address], IDS[:1])
        with pytest.raises(StackError, match="damaged"):
            reading.attach([address], place, IDS[:1], buckets=Buckets.opened())
    file.unlink()
    (problem,) = reading.prove(place).problems
    assert file.name in problem
    (volume,) = volumes(place)
    manifest = volume.read(place).model_copy(update={"bodies": {}})
    place.put(f"{volume.folder}manifest.json", manifest.model_dump_json().encode())
    (problem,) = reading.prove(place).problems
    assert f"execution {IDS[0]}: the body of result 'big1' isn't in the volume" in problem


def test_what_is_gone_from_its_bucket_is_told_and_the_rest_goes_in(
    database: Database, address: DatabaseAddress, tmp_path: Path, url: str
) -> None:
    add(database, IDS[0])
    gone = add_result(database, tmp_path, url, 1, store="s3", body=BODY)
    add_result(database, tmp_path, url, 2, store="gcs", body=OTHER)
    ask("DELETE", gone)
    place = Place.at(str(tmp_path / "archive"), make=True)

    done = written(address, place)

    assert (done.executions, done.bodies) == (1, 1)
    assert done.missing == [f"execution {IDS[0]}: the body of result 'big1' is gone from 's3'"]
    assert reading.prove(place).problems == []


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("s3", "the settings say nothing about it"),
        ("object", "lies in the broker's object store, which archives don't read"),
    ],
)
def test_a_bucket_that_cannot_be_asked_leaves_the_execution_where_it_is(
    database: Database,
    tmp_path: Path,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    store: str,
    message: str,
) -> None:
    add(database, IDS[0])
    add_result(database, tmp_path, url, 1, store=store, body=BODY)
    monkeypatch.delenv("NOETL_RESULT_S3_BUCKET")

    with pytest.raises(StackError, match=message):
        written(database.address, Place.at(str(tmp_path / "archive"), make=True))

    marked = "SELECT count(*) FROM noetl.execution_state WHERE archived_position IS NOT NULL"
    assert database.run(marked).strip() == "0"
