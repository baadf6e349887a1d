"""Look-up of the entry that a request names; each operation has its own refusals."""

from dataclasses import dataclass

from noetl_contract.http.catalog.entries import CatalogEntry
from noetl_contract.http.scalars import is_i64, parse_i64
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import EntryName

from noetl_catalog.entries.reach import hides
from noetl_catalog.entries.store import EntryStore

_LAST_VERSION = 32_767


@dataclass(frozen=True, slots=True)
class RefusalTexts:
    """Texts of refusals.

    Attributes:
        has_strict_versions: whether a number outside of the range of versions is refused as invalid
            (422) instead of not found (404).
    """

    neither: str
    no_id: str
    no_path: str
    no_version: str
    has_strict_versions: bool


ENTRY_TEXTS = RefusalTexts(
    neither="Either 'catalog_id' or 'path' must be provided",
    no_id="Catalog entry '{name}' not found",
    no_path="Catalog entry '{name}' not found",
    no_version="Catalog entry '{name}' version {version} not found",
    has_strict_versions=True,
)
PLAYBOOK_TEXTS = RefusalTexts(
    neither="Either 'path' or 'catalog_id' must be provided",
    no_id="Catalog entry not found: {name}",
    no_path="Playbook not found: {name}",
    no_version="Playbook not found: {name}",
    has_strict_versions=False,
)


async def find_entry(
    store: EntryStore,
    name: EntryName,
    *,
    whole: bool,
    texts: RefusalTexts,
    even_deleted: bool = False,
) -> CatalogEntry | Refusal:
    """Return the entry with the id, or with the path and the version.

    Entries outside of the caller's namespaces count as missing.
    """
    found = await _found(store, name, whole=whole, texts=texts, even_deleted=even_deleted)
    if isinstance(found, Refusal) or not hides(name.principal, found.path):
        return found
    if name.catalog_id is not None:
        return Refusal(404, texts.no_id.format(name=_integer(name.catalog_id)))
    if name.version is None or name.version == "latest":
        return Refusal(404, texts.no_path.format(name=name.path))
    return Refusal(404, texts.no_version.format(name=name.path, version=found.version))


async def _found(
    store: EntryStore, name: EntryName, *, whole: bool, texts: RefusalTexts, even_deleted: bool
) -> CatalogEntry | Refusal:
    path = name.path
    if name.catalog_id is not None:
        number = _integer(name.catalog_id)
        if number is None:
            return Refusal(422, "Invalid catalog_id")
        entry = await store.find_by_id(number, whole=whole, even_deleted=even_deleted)
        return entry or Refusal(404, texts.no_id.format(name=number))
    if path is None:
        return Refusal(422, texts.neither)
    if name.version is None or name.version == "latest":
        entry = await store.find_version(path, version=None, whole=whole, even_deleted=even_deleted)
        return entry or Refusal(404, texts.no_path.format(name=path))
    version = _integer(name.version)
    if version is None or (texts.has_strict_versions and not -32_768 <= version <= _LAST_VERSION):
        return Refusal(422, "Invalid version number")
    entry = None
    if 0 <= version <= _LAST_VERSION:
        entry = await store.find_version(
            path, version=version, whole=whole, even_deleted=even_deleted
        )
    return entry or Refusal(404, texts.no_version.format(name=path, version=version))


def _integer(value: int | str) -> int | None:
    """Return a 64-bit integer from a number or decimal text, or None."""
    number = parse_i64(value) if isinstance(value, str) else value
    return number if is_i64(number) else None
