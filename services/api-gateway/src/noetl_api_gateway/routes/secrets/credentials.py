"""`/api/credentials`, and `/api/gcp/token`."""

from litestar import Response, post
from noetl_contract.http.secrets.credentials import (
    CredentialBody,
    CredentialCreate,
    CredentialDeleted,
    CredentialListAnswer,
    SealedEnvelope,
)
from noetl_contract.rpc import catalog

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Forward, Query, forwarding

_EXECUTION = {
    "execution_id": Query(int, "in whose keychain an unknown name is looked for"),
    "parent_execution_id": Query(int, "kept in the audit"),
}
_TAGS = ["credentials"]
_NOT_FOUND = "Credential 'pg_x' not found"
_UNREADABLE = "Decryption failed: aead::Error"


@post("/api/gcp/token", status_code=200, include_in_schema=False)
async def gcp_token() -> Response[bytes]:
    """Refuse by name: tokens come from keychain entries with `provider: gcp_iam`."""
    raise Refusal(404, "The GCP token API is not enabled")


ROUTES = [
    gcp_token,
    *forwarding(
        Forward(
            method="POST",
            path="/api/credentials",
            name="create_credential",
            operation=catalog.CREDENTIAL_CREATE,
            body=CredentialCreate,
            answer=CredentialBody,
            summary="Store a credential, or replace the one with its name",
            description="Hand the credential over, encrypted nowhere before the service that stores"
            " it.",
            tags=_TAGS,
            errors={
                422: "Failed to deserialize the JSON body into the target type:"
                " missing field `name`",
            },
            write="credentials_upsert",
        ),
        Forward(
            method="GET",
            path="/api/credentials",
            name="list_credentials",
            operation=catalog.CREDENTIAL_LIST,
            answer=CredentialListAnswer,
            summary="List credentials without their data, newest first",
            description="List credentials.",
            tags=_TAGS,
            query={
                "type": Query(str, "exact type"),
                "q": Query(str, "part of the name or the description; `%` and `_` are wildcards"),
            },
        ),
        Forward(
            method="GET",
            path="/api/credentials/{identifier:str}",
            name="read_credential",
            operation=catalog.CREDENTIAL_GET,
            waits_longer=True,
            answer=CredentialBody,
            summary="Read a credential by id or name",
            description="Read a credential, or what an alias stands for in an execution.",
            tags=_TAGS,
            query={"include_data": Query(bool, "with the decrypted data"), **_EXECUTION},
            errors={404: _NOT_FOUND, 500: _UNREADABLE},
        ),
        Forward(
            method="GET",
            path="/api/credentials/{identifier:str}/sealed",
            name="read_sealed_credential",
            operation=catalog.CREDENTIAL_SEALED,
            waits_longer=True,
            answer=SealedEnvelope,
            summary="Read a credential so that only one worker can",
            description="Read a credential, encrypted to a worker's key.",
            tags=_TAGS,
            query={
                "worker_id": Query(
                    str, "whose registered key it is sealed for; required", is_required=True
                ),
                **_EXECUTION,
            },
            errors={
                400: "Failed to deserialize query string: missing field `worker_id`",
                404: _NOT_FOUND,
            },
        ),
        Forward(
            method="DELETE",
            path="/api/credentials/{identifier:str}",
            name="delete_credential",
            operation=catalog.CREDENTIAL_DELETE,
            answer=CredentialDeleted,
            summary="Delete a credential by id or name",
            description="Delete a credential.",
            tags=_TAGS,
            errors={404: _NOT_FOUND},
        ),
    ),
]
