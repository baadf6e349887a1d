"""Statements about entries against a real PostgreSQL."""

import asyncio

from noetl_catalog.entries.documents import Document
from noetl_catalog.entries.store import EntryStore


def make_document(*, path: str = "demo/hello", kind: str = "playbook") -> Document:
    return Document(
        path=path,
        kind=kind,
        content="text",
        layout=[],
        payload={"a": 1},
        meta=None,
        metadata=None,
        problems=(),
    )


async def test_fifty_registrations_of_one_path_get_fifty_versions(store: EntryStore) -> None:
    versions = await asyncio.gather(
        *(store.insert_version(number, make_document()) for number in range(1, 51))
    )

    assert sorted(v for v in versions if v is not None) == list(range(1, 51))


async def test_unknown_kind_is_not_kept(store: EntryStore) -> None:
    assert await store.insert_version(1, make_document(kind="gadget")) is None
    assert await store.find_version("demo/hello", version=None, whole=True) is None


async def test_newest_version_is_the_highest_of_its_path(store: EntryStore) -> None:
    await store.insert_version(7, make_document())
    await store.insert_version(5, make_document())
    await store.insert_version(9, make_document(path="demo/other"))

    newest = await store.find_version("demo/hello", version=None, whole=False)

    assert newest is not None
    assert (newest.catalog_id, newest.version, newest.content) == ("5", 2, None)
