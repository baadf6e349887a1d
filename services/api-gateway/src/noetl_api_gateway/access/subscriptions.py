"""Look-ups of subscriptions by id, which is the parent id of executions that they start."""

from collections.abc import Callable
from dataclasses import dataclass

from noetl_contract.access.principal import Principal
from noetl_contract.rpc.catalog import RESOLVE, EntryName
from noetl_contract.rpc.projector import SUBSCRIPTION_GET, SubscriptionName

from noetl_api_gateway.access.memory import Memory
from noetl_api_gateway.http.caller import as_the_edge
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.services import Services

_MOST = 10_000
_PLACE_SECONDS = 600.0
_OTHER_SECONDS = 30.0
_NONE = ""


@dataclass(frozen=True, slots=True)
class RegisteredSubscription:
    """A subscription, and the registrant of its document, if known."""

    path: str
    registrant: Principal | None


class Subscriptions:
    """Look up subscriptions by id, cached: their paths never change.

    Args:
        services: gives the services behind the edge; raises a refusal while they are awaited.
        seconds: for which a document's registrant is cached.
    """

    def __init__(self, services: Callable[[], Services], *, seconds: float) -> None:
        self._services = services
        self._seconds = seconds
        self._paths: Memory[int, str] = Memory(_MOST)
        self._known: Memory[str, RegisteredSubscription] = Memory(_MOST)

    async def find(self, subscription_id: int) -> RegisteredSubscription | None:
        """Return the subscription of an id; None for any other id.

        Raises:
            Refusal: 503, it can't be found out now.
        """
        with as_the_edge():
            path = await self._path(subscription_id)
            return None if path == _NONE else await self._registered(path)

    async def _registered(self, path: str) -> RegisteredSubscription:
        known = self._known.get(path)
        if known is not None:
            return known
        try:
            registrant = (await self._services().ask(RESOLVE, EntryName(path=path))).registrant
        except Refusal as refusal:
            if refusal.status != 404:
                raise
            registrant = None
        found = RegisteredSubscription(path, registrant)
        self._known.put(path, found, seconds=self._seconds)
        return found

    async def _path(self, subscription_id: int) -> str:
        known = self._paths.get(subscription_id)
        if known is not None:
            return known
        wanted = SubscriptionName(subscription_id=subscription_id)
        try:
            found = await self._services().ask(
                SUBSCRIPTION_GET, wanted, execution_id=subscription_id
            )
        except Refusal as refusal:
            if refusal.status != 404:
                raise
            path, seconds = _NONE, _OTHER_SECONDS
        else:
            path, seconds = found.path, _PLACE_SECONDS
        self._paths.put(subscription_id, path, seconds=seconds)
        return path
