"""Azure: key vaults, and tokens by client credentials."""

import re
from urllib.parse import quote

from noetl_catalog.providers.calls import after_seconds
from noetl_catalog.providers.provider import Provider, Secret

_VAULT = re.compile(r"[A-Za-z0-9-]{1,127}")
_RESOURCE = "https://vault.azure.net"


class AzureVault(Provider):
    """`[<vault>/]<secret>[#<version>]`."""

    async def fetch(self, reference: str) -> Secret:
        """Return a version of a secret, the current one when none is named."""
        place, _, version = reference.strip().partition("#")
        vault, has_vault, name = place.rpartition("/")
        vault = vault if has_vault else self._settings.azure_keyvault_vault
        if not name or not _VAULT.fullmatch(vault):
            # The vault's name becomes part of a host, to which a token is sent.
            raise self._calls.misconfigured("the reference names no secret, or no vault")
        settings = self._settings
        base = settings.azure_keyvault_endpoint.rstrip("/")
        base = base or f"https://{vault}.{settings.azure_keyvault_dns_suffix}"
        path = f"/secrets/{quote(name, safe='')}"
        if version:
            path += f"/{quote(version, safe='')}"
        answer = await self._calls.json(
            "GET",
            f"{base}{path}",
            params={"api-version": settings.azure_keyvault_api_version},
            headers={"authorization": f"Bearer {await self._token()}"},
        )
        value = self._calls.text(answer, "value", otherwise="the answer has no value")
        return Secret(value)

    async def _token(self) -> str:
        given = self._settings.azure_keyvault_token.get_secret_value()
        if given:
            return given
        answer = await self._calls.json(
            "GET",
            self._settings.azure_imds_token_url,
            params={"api-version": "2018-02-01", "resource": _RESOURCE},
            headers={"metadata": "true"},
        )
        problem = "the metadata service gave no access token"
        return self._calls.text(answer, "access_token", otherwise=problem)


class AzureOauth(Provider):
    """`[<tenant>:]<scope>`: an access token by the OAuth2 client credentials grant."""

    async def fetch(self, reference: str) -> Secret:
        """Return a fresh access token."""
        tenant, scope = self._parts(reference.strip())
        settings = self._settings
        secret = settings.azure_client_secret.get_secret_value()
        for name, value in (
            ("AZURE_TENANT_ID", tenant),
            ("AZURE_CLIENT_ID", settings.azure_client_id),
            ("AZURE_CLIENT_SECRET", secret),
        ):
            if not value:
                raise self._calls.misconfigured(f"{name} is not set")
        host = settings.azure_aad_host.rstrip("/")
        answer = await self._calls.json(
            "POST",
            f"{host}/{quote(tenant, safe='')}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": settings.azure_client_id,
                "client_secret": secret,
                "scope": scope,
            },
        )
        token = self._calls.text(answer, "access_token", otherwise="the answer has no access token")
        return Secret(token, after_seconds(answer.get("expires_in")))

    def _parts(self, reference: str) -> tuple[str, str]:
        tenant, has_tenant, scope = reference.partition(":")
        # A scope is often an address, which has a colon of its own.
        if not has_tenant or scope.startswith("//"):
            tenant, scope = self._settings.azure_tenant_id, reference
        return tenant, scope or self._settings.azure_oauth_scope
