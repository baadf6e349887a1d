"""`/api/keychain`."""

from noetl_contract.access.rights import Right
from noetl_contract.http.secrets.keychain import (
    KeychainList,
    KeychainPut,
    KeychainPutBody,
    KeychainRead,
)
from noetl_contract.rpc.catalog import KEYCHAIN_DELETE, KEYCHAIN_GET, KEYCHAIN_LIST, KEYCHAIN_PUT
from pydantic import BaseModel

from noetl_api_gateway.routes.forwarding import Needs, Sent, Topic

_ENTRY = "/api/keychain/{catalog_id:str}/{keychain_name:str}"
TOPIC = Topic("keychain")
_QUERY = {
    "execution_id": (int, "whose entry, for the scopes `local` and `shared`"),
    "scope_type": (str, "`global`, `local` or `shared`"),
}


def _entry(sent: Sent[BaseModel]) -> KeychainRead:
    return KeychainRead(
        catalog_id=sent.id("catalog_id"),
        keychain_name=sent.word("keychain_name"),
        scope_type=sent.text("scope_type") or "global",
        execution_id=sent.number("execution_id"),
    )


def _put(sent: Sent[KeychainPutBody]) -> KeychainPut:
    body = sent.body
    return KeychainPut(
        catalog_id=sent.id("catalog_id"),
        keychain_name=sent.word("keychain_name"),
        data=body.data,
        scope_type=body.scope_type,
        execution_id=body.execution_id,
        parent_execution_id=body.parent_execution_id,
        expires_at=body.expires_at,
        expires_in=body.expires_in,
        auto_renew=body.auto_renew,
        renew_config=body.renew_config,
        credential_type=body.credential_type,
        cache_type=body.cache_type,
    )


# As the contract does: the static segment wins over an id.
TOPIC.refuse(
    "POST /api/keychain/catalog/{catalog_id:str}",
    405,
    "Method Not Allowed",
    needs=Right.KEYCHAIN_WRITE,
    allow="GET,HEAD",
)
TOPIC.forward(
    f"GET {_ENTRY}",
    KEYCHAIN_GET,
    _entry,
    name="read_keychain_entry",
    needs=Needs(Right.KEYCHAIN_USE, also=lambda _sent: Right.SECRETS_READ),
    within="secrets",
    summary="Read an entry; what became of it is in `status`",
    query=_QUERY,
)
TOPIC.forward(
    f"POST {_ENTRY}",
    KEYCHAIN_PUT,
    _put,
    body=KeychainPutBody,
    name="store_keychain_entry",
    needs=Right.KEYCHAIN_WRITE,
    summary="Store an entry",
    description="Store an entry in place of the one with its name and scope.",
    errors={404: "Catalog entry '321000000000000001' not found (keychain_catalog_id_fkey)"},
    write="keychain_set",
)
TOPIC.forward(
    f"DELETE {_ENTRY}",
    KEYCHAIN_DELETE,
    _entry,
    name="delete_keychain_entry",
    needs=Right.KEYCHAIN_DELETE,
    summary="Delete an entry",
    query=_QUERY,
)
TOPIC.forward(
    "GET /api/keychain/catalog/{catalog_id:str}",
    KEYCHAIN_LIST,
    lambda sent: KeychainList(catalog_id=sent.id("catalog_id")),
    name="list_keychain_entries",
    needs=Right.KEYCHAIN_LIST,
    summary="List the entries of a catalog entry without their values",
)
