"""Operations of the catalog about credentials, the keychain, keys and their audit."""

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
from noetl_contract.model import SecretModel
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation


class CredentialName(SecretModel):
    """The id or name of a credential."""

    identifier: str


CREDENTIAL_CREATE = Operation("catalog", "credential.create", CredentialCreate, CredentialBody)
"""Store a credential in place of the one with its name."""
CREDENTIAL_LIST = Operation("catalog", "credential.list", CredentialList, CredentialListAnswer)
"""List credentials without their data, newest first."""
CREDENTIAL_GET = Operation("catalog", "credential.get", CredentialRead, CredentialBody)
"""Return a credential, or what an alias of the playbook's keychain resolves to."""
CREDENTIAL_DELETE = Operation("catalog", "credential.delete", CredentialName, CredentialDeleted)
"""Delete a credential."""
CREDENTIAL_SEALED = Operation("catalog", "credential.sealed", SealedRead, SealedEnvelope)
"""Return a credential encrypted for the key that one worker registered."""
CREDENTIAL_CROSS_REGION = Operation(
    "catalog", "credential.cross_region", CrossRegionRequest, SealedEnvelope
)
"""Return a credential of this region encrypted for a worker of another one."""
KEYCHAIN_GET = Operation("catalog", "keychain.get", KeychainRead, KeychainState)
"""Return a keychain entry and count the access."""
KEYCHAIN_PUT = Operation("catalog", "keychain.put", KeychainPut, KeychainStored)
"""Store a keychain entry in place of the one with its key."""
KEYCHAIN_DELETE = Operation("catalog", "keychain.delete", KeychainRead, KeychainState)
"""Delete a keychain entry if it exists."""
KEYCHAIN_LIST = Operation("catalog", "keychain.list", KeychainList, KeychainEntryList)
"""List the keychain entries of a catalog entry without their values."""
WALLET_ROTATE = Operation("catalog", "wallet.rotate", RotateRequest, RotateSlice)
"""Rewrap one slice of the data keys of a table; ask on with `after` until `done`."""
WALLET_STATUS = Operation("catalog", "wallet.status", Nothing, KeyStatus)
"""Count records by the version of their key."""
SECRET_AUDIT = Operation("catalog", "secret.audit", AuditQuery, AuditRecords)
"""List accesses to secrets and changes of them, newest first."""
