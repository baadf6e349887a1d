"""Messages at the broker that name shards by the old count."""

from noetl.stack.errors import StackError
from noetl.stack.servers.topology import connected
from noetl_bus.jetstream import call, stream_info
from noetl_common.errors import NoetlError
from noetl_contract.streams import COMMANDS, INGRESS


async def clear_broker(nats_url: str, *, name: str) -> None:
    """Refuse while messages to executions wait, and drop the notifications of commands.

    A notification names the shard to its worker. Those of commands that nobody has taken are
    published again by the relays, which find them lost (O5).

    Raises:
        StackError: messages wait, or the broker doesn't answer.
    """
    try:
        async with connected(nats_url, name=name) as bus:
            ingress = await stream_info(bus, INGRESS.name)
            if ingress is not None and ingress.messages:
                raise StackError(
                    f"{ingress.messages} messages wait in {INGRESS.name}: start the orchestrators "
                    "without edges and workers until there are none, then stop them"
                )
            if await stream_info(bus, COMMANDS.name) is not None:
                await call(bus, f"STREAM.PURGE.{COMMANDS.name}")
    except NoetlError as error:
        raise StackError(error.message) from error
