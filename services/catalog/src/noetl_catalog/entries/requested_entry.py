"""The entry that a request names, or the contract's text of the refusal."""

import re
from dataclasses import dataclass

from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply

from noetl_catalog.entries.store import Entry, EntryStore
from noetl_catalog.rpc import refused

_LAST_VERSION = 32_767
_DECIMAL = re.compile(r"[+-]?[0-9]{1,32}")


@dataclass(frozen=True, slots=True)
class RefusalTexts:
    """Texts of refusals.

    ``has_strict_versions``: a number out of the range of versions is invalid (422) instead of not
    found (404).
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
    request: JsonObject,
    *,
    whole: bool,
    texts: RefusalTexts,
    even_deleted: bool = False,
) -> Entry | RpcReply:
    """Find the entry that ``catalog_id``, or else ``path`` and ``version``, name."""
    catalog_id, path = request.get("catalog_id"), request.get("path")
    if catalog_id is not None:
        number = _integer(catalog_id)
        if number is None:
            return refused(422, "Invalid catalog_id")
        entry = await store.find_by_id(number, whole=whole, even_deleted=even_deleted)
        return entry or refused(404, texts.no_id.format(name=number))
    if path is None:
        return refused(422, texts.neither)
    asked = request.get("version")
    if asked is None or asked == "latest":
        entry = await store.find_version(path, version=None, whole=whole, even_deleted=even_deleted)
        return entry or refused(404, texts.no_path.format(name=path))
    version = _integer(asked)
    if version is None or (texts.has_strict_versions and not -32_768 <= version <= _LAST_VERSION):
        return refused(422, "Invalid version number")
    entry = None
    if 0 <= version <= _LAST_VERSION:
        entry = await store.find_version(
            path, version=version, whole=whole, even_deleted=even_deleted
        )
    return entry or refused(404, texts.no_version.format(name=path, version=version))


def _integer(value: Json) -> int | None:
    """Return a 64-bit integer given as a number or as decimal text."""
    if isinstance(value, str):
        if _DECIMAL.fullmatch(value) is None:
            return None
    elif isinstance(value, bool) or not isinstance(value, int):
        return None
    number = int(value)
    return number if -(1 << 63) <= number < 1 << 63 else None
