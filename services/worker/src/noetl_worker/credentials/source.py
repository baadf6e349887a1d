"""Look-up of credentials at the edge.

Over both transports: a credential in a message would pass a broker that others listen to too,
and the edge can seal it for this process.
"""

from typing import Protocol
from urllib.parse import quote, urlencode

import orjson
from noetl_common.crypto.sealed import SealingKey, Unsealable
from noetl_common.logging import get_logger
from noetl_common.retry import retry

from noetl_worker import metrics
from noetl_worker.control_plane.edge import Edge, EdgeUnreachable
from noetl_worker.credentials.cache import CredentialCache
from noetl_worker.credentials.credential import Credential, CredentialError, decode_credential

_LATER = frozenset({408, 429, 502, 503, 504})
_MISSING = 404
_LONGEST_BODY = 500

_log = get_logger()


class CredentialSource(Protocol):
    """Source of credentials."""

    async def find(self, alias: str, *, execution_id: int, server_url: str) -> Credential:
        """Return a credential.

        Raises:
            CredentialError: there is none, or it can't be had.
        """


class _LaterError(Exception):
    """The edge can't answer now."""


class EdgeCredentials:
    """Look credentials up over HTTP, with retries and a short-lived cache."""

    def __init__(
        self,
        edge: Edge,
        *,
        worker_id: str,
        sealing: SealingKey | None,
        cache: CredentialCache,
        tries: int = 6,
        first_pause_seconds: float = 0.25,
    ) -> None:
        """Make the source.

        Args:
            edge: the way to the control plane.
            worker_id: whose key the edge seals for.
            sealing: that key; None asks for the plain form.
            cache: keeps what was found.
            tries: of one look-up.
            first_pause_seconds: before the second try; then doubled.
        """
        self._edge = edge
        self._worker_id = worker_id
        self._sealing = sealing
        self._cache = cache
        self._ask = retry(
            on=_LaterError,
            attempts=tries,
            timeout_seconds=60.0,
            wait_initial_seconds=first_pause_seconds,
        )(self._ask_once)

    async def find(self, alias: str, *, execution_id: int, server_url: str) -> Credential:
        """Return a credential of an execution.

        Raises:
            CredentialError: there is none, or no answer after all tries.
        """

        async def fetch() -> Credential:
            try:
                found = await self._ask(alias, execution_id, server_url)
            except _LaterError as error:
                metrics.CREDENTIALS.labels("unanswered").inc()
                raise CredentialError(
                    f"transient error looking up credential alias '{alias}' in keychain"
                ) from error
            except CredentialError as error:
                metrics.CREDENTIALS.labels("missing" if error.is_missing else "failed").inc()
                raise
            metrics.CREDENTIALS.labels("found").inc()
            return found

        return await self._cache.get((execution_id, alias), fetch)

    async def _ask_once(self, alias: str, execution_id: int, server_url: str) -> Credential:
        name = quote(alias, safe="")
        if self._sealing is None:
            query = urlencode({"include_data": "true", "execution_id": execution_id})
            path = f"/api/credentials/{name}?{query}"
        else:
            query = urlencode({"worker_id": self._worker_id, "execution_id": execution_id})
            path = f"/api/credentials/{name}/sealed?{query}"
        try:
            status, answer = await self._edge.call("GET", path, b"", base=server_url or None)
        except EdgeUnreachable as error:
            _log.warning("credential_unanswered", alias=alias, error=str(error))
            raise _LaterError from error
        if status in _LATER:
            _log.warning("credential_later", alias=alias, status=status)
            raise _LaterError
        if status == _MISSING:
            raise CredentialError(
                f"Credential alias '{alias}' not found in keychain "
                f"(server returned 404 for /api/credentials/{alias})",
                is_missing=True,
            )
        if status >= 300:
            body = answer[:_LONGEST_BODY].decode("utf-8", "replace")
            raise CredentialError(f"credential fetch for '{alias}' failed: HTTP {status} {body}")
        return self._read(alias, answer)

    def _read(self, alias: str, answer: bytes) -> Credential:
        try:
            body = orjson.loads(answer)
            if self._sealing is not None:
                body = orjson.loads(self._sealing.open(body))
        except orjson.JSONDecodeError:
            # Its text would quote the document.
            problem = f"credential '{alias}' can't be decoded: not JSON"
            raise CredentialError(problem) from None
        except Unsealable as error:
            problem = f"credential '{alias}' can't be decoded: sealed envelope: {error}"
            raise CredentialError(problem) from None
        return decode_credential(alias, body)
