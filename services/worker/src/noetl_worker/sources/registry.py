"""Sources by their word."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
from noetl_common.egress import Egress
from noetl_contract.json import Json

from noetl_worker.sources.kafka import KafkaSource
from noetl_worker.sources.nats import NatsSource
from noetl_worker.sources.pubsub import PubSubSource, Tokens
from noetl_worker.sources.rabbitmq import RabbitSource
from noetl_worker.sources.redis import RedisSource
from noetl_worker.sources.source import Source, SourceAway, WrongSource, required

KINDS = ("kafka", "nats", "pubsub", "rabbitmq", "redis")
"""The words."""

_PORTS = {"nats": 4222, "tls": 4222, "amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}
_KAFKA_PORT = 9092


class Sources:
    """Make sources.

    Args:
        egress: where connections may lead.
        client: for sources over HTTP.
        tokens: Google's tokens of this machine.
        consumer: our name among the consumers of a group.
    """

    def __init__(
        self, *, egress: Egress, client: httpx.AsyncClient, tokens: Tokens, consumer: str
    ) -> None:
        self._egress = egress
        self._client = client
        self._tokens = tokens
        self._consumer = consumer

    async def make(
        self, kind: str, config: Mapping[str, Json], *, prefetch: int, makes: bool = False
    ) -> Source:
        """Return a source, to be opened.

        Args:
            kind: its word.
            config: fields of the connection, those of a credential too.
            prefetch: messages that may be held at once.
            makes: whether what it reads by is made when it is not there.

        Raises:
            WrongSource: there is no such source, or a field is missing.
            SourceAway: its hosts can't be resolved.
        """
        match kind:
            case "nats":
                url = required(config, "url", source=kind)
                servers = await self._checked(url.split(","), scheme="nats")
                return NatsSource(config, servers=servers, makes=makes)
            case "kafka":
                servers = await self._checked(brokers_of(config), scheme="")
                return KafkaSource(config, servers=servers)
            case "rabbitmq":
                await self._checked([required(config, "url", source=kind)], scheme="amqp")
                return RabbitSource(config, prefetch=prefetch)
            case "redis":
                await self._checked([required(config, "url", source=kind)], scheme="redis")
                return RedisSource(config, consumer=self._consumer)
            case "pubsub":
                return PubSubSource(config, client=self._client, tokens=self._tokens)
        raise WrongSource(
            f"Unknown or unavailable subscription source '{kind[:100]}'. "
            f"Available: {', '.join(KINDS)}"
        )

    async def _checked(self, addresses: list[str], *, scheme: str) -> list[str]:
        """Return addresses whose hosts may be connected to."""
        found = []
        for address in (one.strip() for one in addresses):
            parts = urlsplit(address if "://" in address or not scheme else f"{scheme}://{address}")
            if not scheme:
                parts = urlsplit(f"//{address.rpartition('://')[2]}")
            try:
                host, port = parts.hostname, parts.port
            except ValueError as error:
                raise WrongSource(f"The address of the source is none: {error}") from error
            if not host:
                raise WrongSource("The address of the source names no host")
            port = port or _PORTS.get(parts.scheme, _KAFKA_PORT)
            try:
                await self._egress.addresses(host, port)
            except OSError as error:
                raise SourceAway(str(error)) from error
            found.append(parts.geturl() if scheme else f"{host}:{port}")
        return found


def brokers_of(config: Mapping[str, Json]) -> list[str]:
    """Return Kafka's brokers: a list, or a text with commas.

    Raises:
        WrongSource: there are none.
    """
    given = config.get("brokers")
    words = given.split(",") if isinstance(given, str) else given
    found = (
        [str(one).strip() for one in words if str(one).strip()] if isinstance(words, list) else []
    )
    if not found:
        raise WrongSource("subscription[kafka] requires 'brokers'")
    return found
