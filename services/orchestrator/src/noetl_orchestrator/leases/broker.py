"""Ask JetStream for the progress of pools and the age of the ingress."""

from datetime import datetime

from noetl_bus.broker import Bus
from noetl_bus.jetstream import consumer_info, stream_info
from noetl_common.errors import NoetlError
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
        try:
            stream = await stream_info(self._bus, INGRESS.name, seconds=_API_SECONDS)
        except NoetlError:
            return None
        if stream is None:
            return None
        if not stream.messages:
            return 0.0
        return (stream.asked_at - stream.first_at).total_seconds()

    async def delivered_up_to(self, pool: str) -> tuple[datetime, int] | None:
        """Return the creation time of the command stream and the last sequence given to a pool.

        None without the stream or the pool's durable.

        Raises:
            BusUnavailable: no answer.
            TopologyRefused: the broker can't answer now.
        """
        stream = await stream_info(self._bus, COMMANDS.name, seconds=_API_SECONDS)
        consumer = await consumer_info(
            self._bus, COMMANDS.name, pool_durable(pool).name, seconds=_API_SECONDS
        )
        if stream is None or consumer is None:
            return None
        return stream.created_at, consumer.delivered_sequence
