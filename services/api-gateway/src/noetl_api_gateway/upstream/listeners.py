"""Push listeners: how each verifies and dispatches, asked of the catalog and kept for a while."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from noetl_common.ids import SnowflakeIds
from noetl_contract.access.principal import Principal, is_below
from noetl_contract.http.catalog.subscriptions import SubscriptionBody
from noetl_contract.http.secrets.credentials import CredentialRead
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc.catalog import CREDENTIAL_GET, SUBSCRIPTION_LISTENER, ListenerRequest

from noetl_api_gateway.http.caller import as_the_edge
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.rates import Buckets, Rate
from noetl_api_gateway.upstream.registrations import registered
from noetl_api_gateway.upstream.services import Services

_VERIFY_TYPES = ("hmac_sha256", "bearer", "pubsub_oidc")
_WITH_SECRET = frozenset({"hmac_sha256", "bearer"})
_SECRET_FIELDS = ("secret", "token", "value", "key", "password")
_TEXTS = ("audience", "service_account", "encoding", "signed")


class UnknownListener(Refusal):
    """404: nobody listens under a name."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A push subscription.

    Attributes:
        name: last segment of its path at the gateway.
        path: of its document.
        spec: the document's.
        verify: how deliveries are verified, the secret in clear.
        subscription: its registration.
        registrant: who registered the document, where that is known.
    """

    name: str
    path: str
    spec: Mapping[str, Json]
    verify: JsonObject
    subscription: SubscriptionBody
    registrant: Principal | None = None


async def find_listener(services: Services, ids: SnowflakeIds, name: str) -> Listener:
    """Return the subscription that listens under a name, and register it if it is not yet.

    Raises:
        Refusal: there is none, or it can't be used as it is.
    """
    try:
        found = await services.ask(SUBSCRIPTION_LISTENER, ListenerRequest(listener=name))
    except Refusal as refusal:
        if refusal.status == 404:
            raise UnknownListener(404, refusal.text) from refusal
        raise
    spec = found.spec
    verify = await _verify(services, as_map(spec.get("ingress")).get("verify"), path=found.path)
    playbook = as_map(spec.get("dispatch")).get("playbook")
    if not isinstance(playbook, str) or not playbook:
        raise Refusal(422, "dispatch.playbook missing")
    subscription = await registered(services, ids, found.path)
    return Listener(name, found.path, spec, verify, subscription, found.registrant)


class Listeners:
    """The listeners that deliveries have named lately.

    One look-up at a time for each name, and few at once: names come from anybody.
    """

    def __init__(self, services: Services, ids: SnowflakeIds, *, seconds: float) -> None:
        self._services = services
        self._ids = ids
        self._seconds = seconds
        self._known: dict[str, tuple[float, Listener | Refusal]] = {}
        self._asking: dict[str, asyncio.Future[Listener]] = {}
        self._rates: dict[str, tuple[int, Buckets]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)

    def wait(self, name: str, *, per_second: int) -> float:
        """Take one start of a listener that has a rate; return the seconds to wait instead."""
        rate, buckets = self._rates.get(name, (0, None))
        if buckets is None or rate != per_second:
            buckets = Buckets(Rate(per_second, per_second))
            self._rates[name] = per_second, buckets
            while len(self._rates) > _MOST:
                del self._rates[next(iter(self._rates))]
        seconds = buckets.wait(name)
        if not seconds:
            buckets.take(name)
        return seconds

    def knows(self, name: str) -> bool:
        """Whether the answer is known, so that nobody has to be asked."""
        return name in self._asking or self._fresh(name) is not None

    async def get(self, name: str) -> Listener:
        """Return a listener.

        Raises:
            Refusal: there is none, it can't be used, or the catalog can't be asked.
        """
        found = self._fresh(name)
        if isinstance(found, Refusal):
            raise type(found)(found.status, found.text)
        if found is not None:
            return found
        asking = self._asking.get(name)
        if asking is None:
            asking = asyncio.ensure_future(self._ask(name))
            self._asking[name] = asking
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        # Shielded: others wait for the same answer.
        return await asyncio.shield(asking)

    async def _ask(self, name: str) -> Listener:
        async with self._places:
            with as_the_edge():
                try:
                    found = await find_listener(self._services, self._ids, name)
                except Refusal as refusal:
                    if refusal.status < 500:
                        self._keep(name, refusal, seconds=min(self._seconds, _UNKNOWN_SECONDS))
                    raise
        self._keep(name, found, seconds=self._seconds)
        return found

    def _fresh(self, name: str) -> Listener | Refusal | None:
        until, found = self._known.get(name, (0.0, None))
        return found if asyncio.get_running_loop().time() < until else None

    def _keep(self, name: str, found: Listener | Refusal, *, seconds: float) -> None:
        self._known.pop(name, None)
        self._known[name] = (asyncio.get_running_loop().time() + seconds, found)
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]


_MOST = 2000
_AT_ONCE = 4
_UNKNOWN_SECONDS = 5.0


async def _verify(services: Services, wanted: Json, *, path: str) -> JsonObject:
    if not isinstance(wanted, dict):
        raise Refusal(422, "ingress.verify is required")
    kind = wanted.get("type")
    if kind not in _VERIFY_TYPES:
        raise Refusal(422, f"unsupported ingress.verify.type '{str(kind)[:100]}'")
    found: JsonObject = {"type": kind}
    for name in ("header", "timestamp_header"):
        header = as_word(wanted.get(name))
        if header is not None:
            found[name] = header.lower()
    if kind in _WITH_SECRET:
        alias = as_word(wanted.get("secret"))
        if alias is None:
            raise Refusal(422, "ingress.verify.secret (a credential alias) is required")
        found["secret"] = await _secret(services, alias, path=path)
    for name in _TEXTS:
        value = as_word(wanted.get(name))
        if value is not None:
            found[name] = value
    tolerance = wanted.get("tolerance_seconds")
    if isinstance(tolerance, int) and not isinstance(tolerance, bool) and tolerance > 0:
        found["tolerance_seconds"] = tolerance
    return found


async def _secret(services: Services, alias: str, *, path: str) -> str:
    """Return the secret behind a credential's alias, which the subscription's path may use."""
    wanted = CredentialRead(identifier=alias, include_data=True)
    # The edge verifies with it; the caller, a gateway, need not be able to read credentials.
    with as_the_edge():
        credential = await services.ask(CREDENTIAL_GET, wanted)
    paths = credential.allowed_paths
    if paths is not None and not any(is_below(path, one) for one in paths):
        raise Refusal(403, f"Credential '{alias[:200]}' may not be used in '{path}'")
    data: Json = credential.data
    if isinstance(data, str):
        return data
    for name in _SECRET_FIELDS:
        value = as_map(data).get(name)
        if isinstance(value, str) and value:
            return value
    raise Refusal(422, f"credential '{alias[:200]}' holds no secret for ingress.verify")


def as_map(value: Json) -> Mapping[str, Json]:
    """Return a mapping, empty for what is none."""
    return value if isinstance(value, dict) else {}


def as_word(value: Json) -> str | None:
    """Return a text that is not empty."""
    return value if isinstance(value, str) and value else None
