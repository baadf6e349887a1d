"""Vault's KV engine, version 2."""

from typing import ClassVar
from urllib.parse import quote

from noetl_catalog.providers.calls import as_text, read_file
from noetl_catalog.providers.provider import Provider, Secret
from noetl_catalog.providers.settings import ProviderSettings


class Vault(Provider):
    """`[<mount>/]<path>[#<key>]`; without a key the secret must have one, or is given whole."""

    asks_again: ClassVar[bool] = True

    @classmethod
    def ca_file(cls, settings: ProviderSettings) -> str:
        """Return Vault's own authority, if it has one."""
        return settings.vault_ca_file

    async def fetch(self, reference: str) -> Secret:
        """Return a field of a secret, or all of them as JSON."""
        place, _, key = reference.strip().partition("#")
        mount, path = self._place(place.strip("/"))
        settings = self._settings
        token = settings.vault_token.get_secret_value()
        if not token and settings.vault_token_file:
            token = await read_file(settings.vault_token_file) or ""
        if not token:
            raise self._calls.misconfigured("VAULT_TOKEN is not set")
        headers = {"x-vault-token": token}
        if settings.vault_namespace:
            headers["x-vault-namespace"] = settings.vault_namespace
        base = settings.vault_addr.rstrip("/")
        answer = await self._calls.json(
            "GET", f"{base}/v1/{quote(mount)}/data/{quote(path)}", headers=headers
        )
        outer = answer.get("data")
        data = outer.get("data") if isinstance(outer, dict) else None
        if not isinstance(data, dict):
            raise self._calls.failed("the secret has no data")
        if key:
            if key not in data:
                raise self._calls.failed(f"the secret has no key '{key}'")
            return Secret(as_text(data[key]))
        if len(data) == 1:
            return Secret(as_text(next(iter(data.values()))))
        return Secret(as_text(data))

    def _place(self, place: str) -> tuple[str, str]:
        if not place:
            raise self._calls.misconfigured("the reference is empty")
        mount, has_path, path = place.partition("/")
        # A first segment is the mount only when something follows it.
        return (mount, path) if has_path else (self._settings.vault_kv_mount, mount)
