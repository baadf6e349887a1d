"""Data keys wrapped by Google's key management."""

import asyncio
import base64
import binascii
from datetime import UTC, datetime, timedelta

import httpx
from noetl_common.crypto.envelope import WrappedKey
from noetl_common.crypto.errors import BadKey, DecryptionFailed, WrongProvider

from noetl_catalog.providers.calls import Calls
from noetl_catalog.providers.errors import ProviderFailed
from noetl_catalog.providers.google import metadata_token
from noetl_catalog.providers.settings import ProviderSettings
from noetl_catalog.secrets.keys.manager import KeyManager, LocalKeyManager, local_manager
from noetl_catalog.secrets.settings import SecretSettings

_GCP = "gcp-kms"
_MANAGER = "GcpKms"
_TIMEOUT_SECONDS = 10.0
_EARLY = timedelta(seconds=60)
_VERSIONS = "cryptoKeyVersions/"


class KmsFailed(ProviderFailed):
    """The key management refuses, or does not answer."""

    template = "{provider}: {reason}"


class GcpKeyManager:
    """Keys in Google's KMS; the configured local key opens texts without a data key."""

    has_keys = is_durable = True

    def __init__(
        self,
        client: httpx.AsyncClient,
        settings: SecretSettings,
        *,
        token_url: str,
        local: LocalKeyManager,
    ) -> None:
        self._endpoint = settings.gcp_kms_endpoint.rstrip("/")
        self._key = settings.gcp_kms_key
        self._token_url = token_url
        self._local = local
        self._token = ""
        self._token_until = datetime.min.replace(tzinfo=UTC)
        self._fetching = asyncio.Lock()
        self._calls = {
            what: Calls(
                client,
                provider=f"kms {what}",
                timeout_seconds=_TIMEOUT_SECONDS,
                failed=KmsFailed,
            )
            for what in ("encrypt", "decrypt", "token", "key")
        }

    async def wrap(self, data_key: bytes, /) -> WrappedKey:
        """Wrap with the primary version."""
        answer = await self._post(
            "encrypt", self._key, {"plaintext": base64.b64encode(data_key).decode()}
        )
        return WrappedKey(
            provider=_GCP,
            key_id=self._key,
            version=_version_in(answer.get("name")) or "primary",
            ciphertext=self._bytes("encrypt", answer.get("ciphertext")),
        )

    async def unwrap(self, dek: WrappedKey, /) -> bytes:
        """Unwrap with the version that wrapped it, which Google finds itself."""
        if dek.provider != _GCP:
            raise WrongProvider(manager=_MANAGER, provider=dek.provider)
        ciphertext = base64.b64encode(dek.ciphertext).decode()
        answer = await self._post("decrypt", dek.key_id, {"ciphertext": ciphertext})
        return self._bytes("decrypt", answer.get("plaintext"))

    async def is_current(self, dek: WrappedKey, /) -> bool:
        """Return whether the primary version of the configured key wrapped a data key."""
        if dek.provider != _GCP or dek.key_id != self._key:
            return False
        answer = await self._calls["key"].json(
            "GET", f"{self._endpoint}/{self._key}", headers=await self._login()
        )
        primary = answer.get("primary")
        name = primary.get("name") if isinstance(primary, dict) else None
        return _version_in(name) == dek.version

    def open_bare(self, blob: bytes, /) -> bytes:
        """Open with the configured local key."""
        return self._local.open_bare(blob)

    async def _post(self, what: str, key: str, body: dict[str, str]) -> dict[str, object]:
        return await self._calls[what].json(
            "POST", f"{self._endpoint}/{key}:{what}", json=body, headers=await self._login()
        )

    async def _login(self) -> dict[str, str]:
        async with self._fetching:
            if datetime.now(UTC) >= self._token_until:
                calls = self._calls["token"]
                token = await metadata_token(calls, self._token_url)
                if token.expires_at is None:
                    raise calls.failed("the metadata server gave no access token")
                self._token = token.value
                self._token_until = token.expires_at - _EARLY
        return {"authorization": f"Bearer {self._token}"}

    def _bytes(self, what: str, text: object) -> bytes:
        try:
            return base64.b64decode(str(text), validate=True)
        except (binascii.Error, ValueError):
            raise DecryptionFailed(f"kms {what}: the answer is not base64") from None


def open_key_manager(
    settings: SecretSettings, *, client: httpx.AsyncClient, providers: ProviderSettings
) -> KeyManager:
    """Build the configured key manager.

    Raises:
        BadKey: a setting makes no sense, which ends the start.
    """
    local = local_manager(settings)
    match settings.kms_provider.strip():
        case "" | "local":
            return local
        case "gcp-kms" | "gcp" if "/cryptoKeys/" not in settings.gcp_kms_key:
            raise BadKey(reason="NOETL_GCP_KMS_KEY must name a key: projects/…/cryptoKeys/<key>")
        case "gcp-kms" | "gcp" if not local.has_keys:
            # The local key is required even with a KMS: without it every operation is refused.
            return local
        case "gcp-kms" | "gcp":
            return GcpKeyManager(
                client, settings, token_url=providers.gcp_metadata_token_url, local=local
            )
        case other:
            raise BadKey(
                reason=f"unknown NOETL_KMS_PROVIDER '{other[:100]}' (expected 'local' or 'gcp-kms')"
            )


def _version_in(name: object) -> str | None:
    if not isinstance(name, str) or _VERSIONS not in name:
        return None
    return name.rpartition(_VERSIONS)[2]
