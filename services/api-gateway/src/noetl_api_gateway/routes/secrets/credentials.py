"""`/api/credentials`, and `/api/gcp/token`."""

from noetl_contract.access.rights import Right
from noetl_contract.http.secrets.credentials import (
    CredentialCreate,
    CredentialList,
    CredentialRead,
    SealedRead,
)
from noetl_contract.rpc.catalog import (
    CREDENTIAL_CREATE,
    CREDENTIAL_DELETE,
    CREDENTIAL_GET,
    CREDENTIAL_LIST,
    CREDENTIAL_SEALED,
    CredentialName,
    CredentialStore,
)

from noetl_api_gateway.routes.forwarding import Needs, Topic

_ONE = "/api/credentials/{identifier:str}"
_EXECUTION = {
    "execution_id": (int, "in whose keychain an unknown name is looked for"),
    "parent_execution_id": (int, "kept in the audit"),
}
TOPIC = Topic("credentials")
_NOT_FOUND = "Credential 'pg_x' not found"
_NOT_THERE = "Credential 'pg_x' may not be used there"
_UNREADABLE = "Decryption failed: aead::Error"


# Tokens come from keychain entries with `provider: gcp_iam`.
TOPIC.refuse(
    "POST /api/gcp/token",
    404,
    "The GCP token API is not enabled",
    needs=Right.CREDENTIALS_USE,
)
TOPIC.forward(
    "POST /api/credentials",
    CREDENTIAL_CREATE,
    lambda sent: CredentialStore(**sent.body.model_dump(exclude_unset=True)),
    body=CredentialCreate,
    name="create_credential",
    needs=Right.CREDENTIALS_WRITE,
    summary="Store a credential, or replace the one with its name",
    description="Hand the credential over, encrypted nowhere before the service that stores it.",
    errors={
        422: "Failed to deserialize the JSON body into the target type: missing field `name`",
    },
    write="credentials_upsert",
)
TOPIC.forward(
    "GET /api/credentials",
    CREDENTIAL_LIST,
    lambda sent: CredentialList(type=sent.text("type"), q=sent.text("q")),
    name="list_credentials",
    needs=Right.CREDENTIALS_LIST,
    summary="List credentials without their data, newest first",
    query={
        "type": (str, "exact type"),
        "q": (str, "part of the name or the description; `%` and `_` are wildcards"),
    },
)
TOPIC.forward(
    f"GET {_ONE}",
    CREDENTIAL_GET,
    lambda sent: CredentialRead(
        identifier=sent.word("identifier"),
        include_data=sent.flag("include_data", default=False),
        execution_id=sent.number("execution_id"),
        parent_execution_id=sent.number("parent_execution_id"),
    ),
    name="read_credential",
    needs=Needs(
        Right.CREDENTIALS_USE,
        also=lambda sent: Right.SECRETS_READ if sent.flag("include_data", default=False) else None,
    ),
    within="secrets",
    summary="Read a credential by id or name",
    description="Read a credential, or what an alias stands for in an execution.",
    query={"include_data": (bool, "with the decrypted data"), **_EXECUTION},
    errors={403: _NOT_THERE, 404: _NOT_FOUND, 500: _UNREADABLE},
)
TOPIC.forward(
    f"GET {_ONE}/sealed",
    CREDENTIAL_SEALED,
    lambda sent: SealedRead(
        identifier=sent.word("identifier"),
        worker_id=sent.word("worker_id"),
        execution_id=sent.number("execution_id"),
        parent_execution_id=sent.number("parent_execution_id"),
    ),
    name="read_sealed_credential",
    needs=Right.CREDENTIALS_SEALED,
    within="secrets",
    summary="Read a credential so that only one worker can",
    description="Read a credential, encrypted to a worker's key.",
    query={
        "worker_id": (str, "whose registered key it is sealed for; required"),
        **_EXECUTION,
    },
    errors={
        400: "Failed to deserialize query string: missing field `worker_id`",
        403: _NOT_THERE,
        404: _NOT_FOUND,
    },
)
TOPIC.forward(
    f"DELETE {_ONE}",
    CREDENTIAL_DELETE,
    lambda sent: CredentialName(identifier=sent.word("identifier")),
    name="delete_credential",
    needs=Right.CREDENTIALS_DELETE,
    summary="Delete a credential by id or name",
    errors={404: _NOT_FOUND},
)
