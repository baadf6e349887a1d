"""Ask JetStream for the progress of pools and the age of the ingress."""

from datetime import datetime, timedelta

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.errors import NoetlError
from noetl_contract.json import JsonObject
from noetl_contract.streams import COMMANDS, INGRESS, pool_durable

_API_SECONDS = 2.0


class BrokerView:
    """Ask the broker for positions of streams and consumers."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def oldest_ingress_seconds(self) -> float | None:
        """Return the age of the oldest ingress message, 0 without one, None if unknown.

        The oldest message of all shards counts: with a slow neighbour this shard judges later,
        never too early.
        """
        info = await self._info(f"STREAM.INFO.{INGRESS.name}")
        if info is None:
            return None
        state = info["state"]
        if not state["messages"]:
            return 0.0
        now = _broker_time(info["ts"])
        return (now - _broker_time(state["first_ts"])).total_seconds()

    async def delivered_up_to(self, pool: str) -> tuple[datetime, int] | None:
        """Return the creation time of the command stream and the last sequence given to a pool."""
        durable = pool_durable(pool)
        stream = await self._info(f"STREAM.INFO.{COMMANDS.name}")
        consumer = await self._info(f"CONSUMER.INFO.{COMMANDS.name}.{durable.name}")
        if stream is None or consumer is None:
            return None
        return _broker_time(stream["created"]), int(consumer["delivered"]["stream_seq"])

    async def _info(self, operation: str) -> JsonObject | None:
        try:
            incoming = await self._bus.request(f"$JS.API.{operation}", timeout=_API_SECONDS)
        except NoetlError:
            return None
        answer: JsonObject = orjson.loads(incoming.data)
        return None if "error" in answer else answer


def _broker_time(text: str) -> datetime:
    """Parse the broker's time, with up to nine digits after the point."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.fromisoformat(f"{whole}+00:00")
    return moment + timedelta(microseconds=int(fraction[:6].ljust(6, "0")) if fraction else 0)
