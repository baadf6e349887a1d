"""HTTP calls to providers, with limits of time and size, and with errors that quote no secret."""

import asyncio
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypedDict, Unpack

import httpx
import orjson
from noetl_contract.json import Json, JsonObject

from noetl_catalog.providers.errors import ProviderFailed, ProviderMisconfigured

_LARGEST_ANSWER = 1 << 20
_LONGEST_EXCERPT = 200


class Options(TypedDict, total=False):
    """Optional parts of a call."""

    headers: Mapping[str, str]
    params: Mapping[str, str]
    content: str | bytes
    data: Mapping[str, str]
    json: Json


class Calls:
    """HTTP calls to one provider.

    Args:
        client: the client that all providers share.
        provider: name of the provider in errors.
        timeout_seconds: timeout of one call.
        failed: error for failures of the network and the provider; its status determines whether
            workers retry.
        ca_file: file of the provider's own certificate authority.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        provider: str,
        timeout_seconds: float,
        failed: type[ProviderFailed],
        ca_file: str = "",
    ) -> None:
        self._client = client
        self._provider = provider
        self._timeout_seconds = timeout_seconds
        self._failed = failed
        self._ca_file = ca_file

    def misconfigured(self, reason: str) -> ProviderMisconfigured:
        """Build the error for an invalid setting or reference."""
        return ProviderMisconfigured(provider=self._provider, reason=reason)

    def failed(self, reason: str) -> ProviderFailed:
        """Build the error for an invalid answer."""
        return self._failed(provider=self._provider, reason=reason)

    def text(self, answer: JsonObject, name: str, *, otherwise: str) -> str:
        """Return a text of an answer.

        Raises:
            ProviderFailed: the answer lacks the text; ``otherwise`` is the reason.
        """
        value = answer.get(name)
        if not isinstance(value, str):
            raise self.failed(otherwise)
        return value

    async def json(self, method: str, url: str, **options: Unpack[Options]) -> JsonObject:
        """Call and return a JSON object.

        Raises:
            ProviderFailed: the call failed or timed out, or the answer is not a 2xx with an object.
        """
        body = await self.body(method, url, **options)
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise self.failed("the answer is not JSON") from None
        if not isinstance(value, dict):
            raise self.failed("the answer is not a JSON object")
        return value

    async def body(self, method: str, url: str, **options: Unpack[Options]) -> bytes:
        """Call and return the bytes of a 2xx.

        Raises:
            ProviderFailed: the call failed or timed out, or the answer is not a 2xx or too large.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if not self._ca_file:
                    return await self._called(self._client, method, url, options)
                trust = await asyncio.to_thread(_trust, self._ca_file)
                async with httpx.AsyncClient(verify=trust, trust_env=False) as client:
                    return await self._called(client, method, url, options)
        except TimeoutError as error:
            raise self.failed(f"no answer in {self._timeout_seconds:g} seconds") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.failed(f"{type(error).__name__}: {error}") from error
        except OSError as error:
            raise self.misconfigured(f"its CA file can't be read: {error.strerror}") from error

    async def _called(
        self, client: httpx.AsyncClient, method: str, url: str, options: Options
    ) -> bytes:
        async with client.stream(method, url, timeout=self._timeout_seconds, **options) as answer:
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _LARGEST_ANSWER:
                    raise self.failed(f"the answer has more than {_LARGEST_ANSWER} bytes")
        if not answer.is_success:
            # A refusal contains no secret, and operators have no other information.
            excerpt = body[: 4 * _LONGEST_EXCERPT].decode("utf-8", "replace")[:_LONGEST_EXCERPT]
            raise self.failed(f"HTTP {answer.status_code} {excerpt}".rstrip())
        return bytes(body)


def after_seconds(seconds: Json) -> datetime | None:
    """Return the time after some seconds, or None if the value is not a valid number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | str):
        return None
    try:
        return datetime.now(UTC) + timedelta(seconds=float(seconds))
    except (ValueError, OverflowError):
        return None


def as_text(value: Json) -> str:
    """Return a text unchanged, and any other value as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


async def read_file(path: str) -> str | None:
    """Return the stripped text of a mounted file, or None if it can't be read."""
    try:
        return (await asyncio.to_thread(Path(path).read_text)).strip()
    except (OSError, ValueError):
        return None


def _trust(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
