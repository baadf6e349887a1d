"""`/api/keychain`."""

from litestar import Response, post
from noetl_contract.http.secrets.keychain import (
    KeychainEntryList,
    KeychainPutBody,
    KeychainState,
    KeychainStored,
)
from noetl_contract.json import JsonObject
from noetl_contract.rpc import catalog

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Forward, Query, forwarding

_ENTRY = "/api/keychain/{catalog_id:str}/{keychain_name:str}"
_TAGS = ["keychain"]
_QUERY = {
    "execution_id": Query(int, "whose entry, for the scopes `local` and `shared`"),
    "scope_type": Query(str, "`global`, `local` or `shared`"),
}


@post("/api/keychain/catalog/{catalog_id:str}", include_in_schema=False)
async def no_keychain_post() -> Response[bytes]:
    """Refuse as the contract does: the static segment wins over an id."""
    raise Refusal(405, "Method Not Allowed", headers={"allow": "GET,HEAD"})


def _scoped(wanted: JsonObject) -> JsonObject:
    return wanted | {"scope_type": wanted.get("scope_type") or "global"}


ROUTES = [
    no_keychain_post,
    *forwarding(
        Forward(
            method="GET",
            path=_ENTRY,
            name="read_keychain_entry",
            operation=catalog.KEYCHAIN_GET,
            waits_longer=True,
            answer=KeychainState,
            summary="Read an entry; what became of it is in `status`",
            description="Read an entry, counting its use.",
            tags=_TAGS,
            query=_QUERY,
            prepare=_scoped,
        ),
        Forward(
            method="POST",
            path=_ENTRY,
            name="store_keychain_entry",
            operation=catalog.KEYCHAIN_PUT,
            body=KeychainPutBody,
            answer=KeychainStored,
            summary="Store an entry",
            description="Store an entry in place of the one with its name and scope.",
            tags=_TAGS,
            errors={404: "Catalog entry '321000000000000001' not found (keychain_catalog_id_fkey)"},
            write="keychain_set",
        ),
        Forward(
            method="DELETE",
            path=_ENTRY,
            name="delete_keychain_entry",
            operation=catalog.KEYCHAIN_DELETE,
            answer=KeychainState,
            summary="Delete an entry",
            description="Delete an entry, if there is one.",
            tags=_TAGS,
            query=_QUERY,
            prepare=_scoped,
        ),
        Forward(
            method="GET",
            path="/api/keychain/catalog/{catalog_id:str}",
            name="list_keychain_entries",
            operation=catalog.KEYCHAIN_LIST,
            answer=KeychainEntryList,
            summary="List the entries of a catalog entry without their values",
            description="List entries, newest first.",
            tags=_TAGS,
        ),
    ),
]
