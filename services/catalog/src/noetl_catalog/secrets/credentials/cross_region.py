"""Client of other regions, for secrets that may not leave them unsealed."""

import httpx
from noetl_common import metrics
from noetl_contract.http.secrets.credentials import CrossRegionRequest, SealedEnvelope
from pydantic import ValidationError

from noetl_catalog.secrets.errors import BrokerUnreachable
from noetl_catalog.secrets.settings import SecretSettings

_PATH = "/api/internal/cross-region/resolve"
_LONGEST_EXCERPT = 200
_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CALLS = metrics.counter(
    "noetl_secret_broker_call_total", "Cross-region calls", ["broker_region", "outcome"]
)
_DURATION = metrics.histogram(
    "noetl_secret_broker_call_duration_seconds",
    "Their latency",
    ["broker_region"],
    buckets=_BUCKETS,
)


class CrossRegionClient:
    """The edges of other regions, by region; the client has no base address."""

    def __init__(self, client: httpx.AsyncClient, settings: SecretSettings) -> None:
        self._client = client
        self._settings = settings
        self._registry = settings.region_addresses()

    def has(self, region: str) -> bool:
        """Return whether the registry has a region."""
        return region in self._registry

    def served(self, region: str, outcome: str) -> None:
        """Count an answer of this region to another one.

        Callers name their region freely: all regions outside the registry share one label.
        """
        label = region if region in self._registry else "other"
        _CALLS.labels(label if region else "-", outcome).inc()

    async def resolve(self, region: str, request: CrossRegionRequest) -> SealedEnvelope:
        """Return an envelope that the other region sealed for the worker.

        Raises:
            BrokerUnreachable: no answer, or an answer without an envelope.
        """
        base = self._registry[region]
        with _DURATION.labels(region).time():
            try:
                envelope = await self._asked(base, request)
            except BrokerUnreachable:
                _CALLS.labels(region, "unreachable").inc()
                raise
        _CALLS.labels(region, "ok").inc()
        return envelope

    async def _asked(self, base: str, request: CrossRegionRequest) -> SealedEnvelope:
        token = self._settings.internal_api_token.get_secret_value().strip()
        headers = {"authorization": f"Bearer {token}"} if token else {}
        try:
            response = await self._client.post(
                f"{base}{_PATH}",
                json=request.model_dump(),
                headers=headers,
                timeout=self._settings.secret_broker_timeout_secs,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            cause = f"{type(error).__name__}: {error}"
            raise BrokerUnreachable(url=base, cause=cause) from error
        if not response.is_success:
            excerpt = response.text[:_LONGEST_EXCERPT]
            cause = f"broker returned HTTP {response.status_code}: {excerpt}"
            raise BrokerUnreachable(url=base, cause=cause)
        try:
            return SealedEnvelope.model_validate_json(response.content)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_context=False)[0]["msg"]
            cause = f"decode broker response: {problem}"
            raise BrokerUnreachable(url=base, cause=cause) from None
