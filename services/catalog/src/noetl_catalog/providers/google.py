"""Access tokens of a machine at Google, for the key manager and for providers of secrets."""

from noetl_catalog.providers.calls import Calls, after_seconds
from noetl_catalog.providers.provider import Secret


async def metadata_token(calls: Calls, url: str) -> Secret:
    """Return an access token of the machine's own service account.

    Raises:
        ProviderFailed: the metadata server returns no token.
    """
    answer = await calls.json("GET", url, headers={"metadata-flavor": "Google"})
    problem = "the metadata server gave no access token"
    token = calls.text(answer, "access_token", otherwise=problem)
    return Secret(token, after_seconds(answer.get("expires_in")))
