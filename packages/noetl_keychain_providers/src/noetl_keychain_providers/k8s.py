"""Kubernetes secrets."""

import base64
import binascii
from typing import ClassVar
from urllib.parse import quote

from noetl_catalog.providers.calls import read_file
from noetl_catalog.providers.provider import Provider, Secret
from noetl_catalog.providers.settings import ProviderSettings


class K8s(Provider):
    """`[<namespace>/]<secret>/<key>`, or `<secret>` when it has a single key."""

    asks_again: ClassVar[bool] = True

    @classmethod
    def ca_file(cls, settings: ProviderSettings) -> str:
        """Return the pod's; plain HTTP, as through a proxy beside it, needs no authority."""
        is_plain = settings.k8s_api_url.startswith("http://")
        return "" if is_plain else settings.k8s_ca_file

    async def fetch(self, reference: str) -> Secret:
        """Return a key of a secret."""
        namespace, name, key = self._parts(reference.strip())
        namespace = namespace or await self._namespace()
        token = self._settings.k8s_token.get_secret_value()
        token = token or await read_file(self._settings.k8s_token_file) or ""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        place = f"namespaces/{quote(namespace, safe='')}/secrets/{quote(name, safe='')}"
        answer = await self._calls.json("GET", f"{self._api()}/api/v1/{place}", headers=headers)
        data = answer.get("data")
        if not isinstance(data, dict) or not data:
            raise self._calls.failed(f"the secret '{name}' has no data")
        if key is None:
            if len(data) != 1:
                raise self._calls.misconfigured(
                    f"the secret '{name}' has {len(data)} keys, the reference names none"
                )
            key = next(iter(data))
        if key not in data:
            raise self._calls.failed(f"the secret '{name}' has no key '{key}'")
        try:
            return Secret(base64.b64decode(data[key], validate=True).decode())
        except (binascii.Error, ValueError, TypeError):
            raise self._calls.failed(f"the key '{key}' is not base64 of text") from None

    def _parts(self, reference: str) -> tuple[str | None, str, str | None]:
        parts = reference.split("/")
        if not all(parts) or len(parts) > 3:
            raise self._calls.misconfigured("the reference is not [namespace/]secret/key")
        match parts:
            case [name]:
                return None, name, None
            case [name, key]:
                return None, name, key
            case _:
                return parts[0], parts[1], parts[2]

    async def _namespace(self) -> str:
        settings = self._settings
        return settings.k8s_namespace or await read_file(settings.k8s_namespace_file) or "default"

    def _api(self) -> str:
        settings = self._settings
        if settings.k8s_api_url:
            return settings.k8s_api_url.rstrip("/")
        if settings.kubernetes_service_host:
            host = settings.kubernetes_service_host
            host = f"[{host}]" if ":" in host else host
            return f"https://{host}:{settings.kubernetes_service_port}"
        return "https://kubernetes.default.svc"
