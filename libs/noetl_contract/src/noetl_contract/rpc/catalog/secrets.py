"""Operations of the catalog about credentials, the keychain, keys and their audit."""

from pydantic import BaseModel

from noetl_contract.http.secrets.credentials import (
    CredentialBody,
    CredentialCreate,
    CredentialDeleted,
    CredentialList,
    CredentialListAnswer,
    CredentialRead,
    CrossRegionRequest,
    SealedEnvelope,
    SealedRead,
)
from noetl_contract.http.secrets.keychain import (
    AuditQuery,
    AuditRecords,
    KeychainEntryList,
    KeychainList,
    KeychainPut,
    KeychainRead,
    KeychainState,
    KeychainStored,
    KeyStatus,
    RotateRequest,
    RotateSlice,
)
from noetl_contract.rpc.models import SECRET_MODEL, Nothing
from noetl_contract.rpc.operation import Operation

__all__ = [
    "CREDENTIAL_CREATE",
    "CREDENTIAL_CROSS_REGION",
    "CREDENTIAL_DELETE",
    "CREDENTIAL_GET",
    "CREDENTIAL_LIST",
    "CREDENTIAL_SEALED",
    "KEYCHAIN_DELETE",
    "KEYCHAIN_GET",
    "KEYCHAIN_LIST",
    "KEYCHAIN_PUT",
    "SECRET_AUDIT",
    "WALLET_ROTATE",
    "WALLET_STATUS",
    "CredentialName",
]


class CredentialName(BaseModel):
    """The id or name of a credential."""

    model_config = SECRET_MODEL

    identifier: str


CREDENTIAL_CREATE = Operation(
    service="catalog",
    name="credential.create",
    request=CredentialCreate,
    answer=CredentialBody,
    scope="cluster",
    summary="Store a credential in place of the one with its name.",
)
CREDENTIAL_LIST = Operation(
    service="catalog",
    name="credential.list",
    request=CredentialList,
    answer=CredentialListAnswer,
    scope="cluster",
    summary="List credentials without their data, newest first.",
)
CREDENTIAL_GET = Operation(
    service="catalog",
    name="credential.get",
    request=CredentialRead,
    answer=CredentialBody,
    scope="cluster",
    summary="Return a credential, or what an alias of the playbook's keychain resolves to.",
)
CREDENTIAL_DELETE = Operation(
    service="catalog",
    name="credential.delete",
    request=CredentialName,
    answer=CredentialDeleted,
    scope="cluster",
    summary="Delete a credential.",
)
CREDENTIAL_SEALED = Operation(
    service="catalog",
    name="credential.sealed",
    request=SealedRead,
    answer=SealedEnvelope,
    scope="cluster",
    summary="Return a credential encrypted for the key that one worker registered.",
)
CREDENTIAL_CROSS_REGION = Operation(
    service="catalog",
    name="credential.cross_region",
    request=CrossRegionRequest,
    answer=SealedEnvelope,
    scope="cluster",
    summary="Return a credential of this region encrypted for a worker of another one.",
)
KEYCHAIN_GET = Operation(
    service="catalog",
    name="keychain.get",
    request=KeychainRead,
    answer=KeychainState,
    scope="cluster",
    summary="Return a keychain entry and count the access.",
)
KEYCHAIN_PUT = Operation(
    service="catalog",
    name="keychain.put",
    request=KeychainPut,
    answer=KeychainStored,
    scope="cluster",
    summary="Store a keychain entry in place of the one with its key.",
)
KEYCHAIN_DELETE = Operation(
    service="catalog",
    name="keychain.delete",
    request=KeychainRead,
    answer=KeychainState,
    scope="cluster",
    summary="Delete a keychain entry if it exists.",
)
KEYCHAIN_LIST = Operation(
    service="catalog",
    name="keychain.list",
    request=KeychainList,
    answer=KeychainEntryList,
    scope="cluster",
    summary="List the keychain entries of a catalog entry without their values.",
)
WALLET_ROTATE = Operation(
    service="catalog",
    name="wallet.rotate",
    request=RotateRequest,
    answer=RotateSlice,
    scope="cluster",
    summary="Rewrap one slice of the data keys of a table; ask on with `after` until `done`.",
)
WALLET_STATUS = Operation(
    service="catalog",
    name="wallet.status",
    request=Nothing,
    answer=KeyStatus,
    scope="cluster",
    summary="Count records by the version of their key.",
)
SECRET_AUDIT = Operation(
    service="catalog",
    name="secret.audit",
    request=AuditQuery,
    answer=AuditRecords,
    scope="cluster",
    summary="List accesses to secrets and changes of them, newest first.",
)
