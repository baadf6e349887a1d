"""Names of entries that lead nowhere, and the texts of their refusals."""

import pytest
from noetl_catalog.entries.requested_entry import (
    ENTRY_TEXTS,
    PLAYBOOK_TEXTS,
    RefusalTexts,
    find_entry,
)
from noetl_catalog.entries.store import EntryStore
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import EntryName
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("texts", "name", "refusal"),
    [
        (ENTRY_TEXTS, EntryName(), (422, "Either 'catalog_id' or 'path' must be provided")),
        (ENTRY_TEXTS, EntryName(catalog_id="x"), (422, "Invalid catalog_id")),
        (ENTRY_TEXTS, EntryName(catalog_id=1 << 63), (422, "Invalid catalog_id")),
        (ENTRY_TEXTS, EntryName(catalog_id="5"), (404, "Catalog entry '5' not found")),
        (ENTRY_TEXTS, EntryName(path="p"), (404, "Catalog entry 'p' not found")),
        (ENTRY_TEXTS, EntryName(path="p", version="latest"), (404, "Catalog entry 'p' not found")),
        (
            ENTRY_TEXTS,
            EntryName(path="p", version=2),
            (404, "Catalog entry 'p' version 2 not found"),
        ),
        (ENTRY_TEXTS, EntryName(path="p", version="v2"), (422, "Invalid version number")),
        (PLAYBOOK_TEXTS, EntryName(), (422, "Either 'path' or 'catalog_id' must be provided")),
        (PLAYBOOK_TEXTS, EntryName(path="p", version=70000), (404, "Playbook not found: p")),
        (PLAYBOOK_TEXTS, EntryName(catalog_id=5), (404, "Catalog entry not found: 5")),
    ],
)
async def test_names_that_lead_nowhere(
    store: EntryStore, texts: RefusalTexts, name: EntryName, refusal: tuple[int, str]
) -> None:
    assert await find_entry(store, name, whole=False, texts=texts) == Refusal(*refusal)


@pytest.mark.parametrize(
    ("version", "refusal"),
    [
        ("40000", (422, "Invalid version number")),
        (40000, (422, "Invalid version number")),
        (" 1", (422, "Invalid version number")),
        ("1_0", (422, "Invalid version number")),
        ("", (422, "Invalid version number")),
        ("-1", (404, "Catalog entry 'p' version -1 not found")),
        ("+7", (404, "Catalog entry 'p' version 7 not found")),
    ],
)
async def test_versions_are_small_integers(
    store: EntryStore, version: int | str, refusal: tuple[int, str]
) -> None:
    name = EntryName(path="p", version=version)

    assert await find_entry(store, name, whole=True, texts=ENTRY_TEXTS) == Refusal(*refusal)


@pytest.mark.parametrize("value", [True, 1.0, [1]])
def test_booleans_and_fractions_name_nothing(value: object) -> None:
    with pytest.raises(ValidationError):
        EntryName.model_validate({"catalog_id": value})
