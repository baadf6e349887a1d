"""Google: the secret manager, and tokens for service accounts."""

import base64
import binascii
import re
from datetime import datetime
from typing import ClassVar
from urllib.parse import quote

from noetl_catalog.providers.google import metadata_token
from noetl_catalog.providers.provider import Provider, Secret

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_VERSIONED = re.compile(r"/versions/[^/]+$")


class GcpSecrets(Provider):
    """`projects/…/secrets/…[/versions/…]`, or a bare name in the default project."""

    asks_again: ClassVar[bool] = True

    async def fetch(self, reference: str) -> Secret:
        """Return a version of a secret, the latest when none is named."""
        name = self._name(reference.strip())
        token = await metadata_token(self._calls, self._settings.gcp_metadata_token_url)
        endpoint = self._settings.gcp_sm_endpoint.rstrip("/")
        answer = await self._calls.json(
            "GET",
            f"{endpoint}/{quote(name)}:access",
            headers={"authorization": f"Bearer {token.value}"},
        )
        payload = answer.get("payload")
        data = payload.get("data") if isinstance(payload, dict) else None
        if not isinstance(data, str):
            raise self._calls.failed("the answer has no payload")
        try:
            return Secret(base64.b64decode(data, validate=True).decode())
        except (binascii.Error, ValueError):
            raise self._calls.failed("the payload is not base64 of text") from None

    def _name(self, reference: str) -> str:
        if not reference:
            raise self._calls.misconfigured("the reference is empty")
        if not reference.startswith("projects/"):
            project = self._settings.gcp_project
            if not project:
                raise self._calls.misconfigured(
                    "the reference names no project and GOOGLE_CLOUD_PROJECT is not set"
                )
            reference = f"projects/{project}/secrets/{reference}"
        return reference if _VERSIONED.search(reference) else f"{reference}/versions/latest"


class GcpIam(Provider):
    """`<service-account>[#<scope>]`: an access token for that account."""

    async def fetch(self, reference: str) -> Secret:
        """Return a fresh access token."""
        account, _, scope = reference.strip().partition("#")
        account = account or self._settings.gcp_impersonate_sa
        if not account:
            raise self._calls.misconfigured("the reference names no service account")
        own = await metadata_token(self._calls, self._settings.gcp_metadata_token_url)
        endpoint = self._settings.gcp_iam_credentials_endpoint.rstrip("/")
        answer = await self._calls.json(
            "POST",
            f"{endpoint}/projects/-/serviceAccounts/{quote(account, safe='@')}:generateAccessToken",
            headers={"authorization": f"Bearer {own.value}"},
            json={
                "scope": [scope or _SCOPE],
                "lifetime": f"{self._settings.gcp_iam_lifetime_secs}s",
            },
        )
        token, expiry = answer.get("accessToken"), answer.get("expireTime")
        if not isinstance(token, str) or not isinstance(expiry, str):
            raise self._calls.failed("the answer has no access token")
        try:
            return Secret(token, datetime.fromisoformat(expiry))
        except ValueError:
            raise self._calls.failed("the answer has no legible expiry") from None
