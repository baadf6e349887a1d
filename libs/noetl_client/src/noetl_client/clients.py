"""The blocking client and the asynchronous client."""

from types import TracebackType
from typing import Self

from noetl_client import flows
from noetl_client.answers import Answer
from noetl_client.bound import Bound, Does, Sends, Yields, ended
from noetl_client.calls import executions, results
from noetl_client.calls.call import Call
from noetl_client.connection import Connection
from noetl_client.groups import Catalog, Credentials, Failures, Keys, Pauses, Schedules
from noetl_client.wires import AsyncWire, BlockingWire, Wire


class Methods[W: Wire](Bound[W]):
    """Methods of both clients; those of the asynchronous client return awaitables."""

    start = Sends(executions.start)
    rerun = Sends(executions.rerun)
    restart = Sends(executions.restart)
    status = Sends(executions.status)
    detail = Sends(executions.detail)
    list = Sends(executions.executions)
    steps = Sends(executions.steps)
    events = Sends(executions.events)
    why = Sends(executions.why)
    cancel = Sends(executions.cancel)
    pause = Sends(executions.pause)
    resume = Sends(executions.resume)
    signal = Sends(executions.signal)
    waits = Sends(executions.waits)
    stored_results = Sends(executions.stored_results)
    resolve = Sends(results.resolve)
    ask = Does(flows.ask)
    wait = Does(flows.wait)
    result = Does(flows.result)
    run = Does(flows.run)
    stream = Yields(flows.stream)
    output = Yields(flows.output)

    def __init__(self, wire: W) -> None:
        super().__init__(wire)
        self.connection = wire.connection
        self.catalog = Catalog(wire)
        self.credentials = Credentials(wire)
        self.schedules = Schedules(wire)
        self.failures = Failures(wire)
        self.pauses = Pauses(wire)
        self.keys = Keys(wire)


class Client(Methods[BlockingWire]):
    """A client that waits for each answer; threads may share it. To be closed.

    Args:
        server: an address, or all about the connection; the environment's if absent.
        key: API key or another bearer token, with an address.

    Raises:
        BadAddress: the address is none.
    """

    def __init__(self, server: str | Connection | None = None, *, key: str = "") -> None:
        super().__init__(BlockingWire(_connection(server, key)))

    def __enter__(self) -> Self:
        """Use it until the block ends."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        ended(self.wire.close())

    def send[Wanted](self, call: Call[Wanted]) -> Wanted:
        """Make a call, again where that is safe.

        Raises:
            Unreachable: no answer came.
            Refused: the server said no; the subclass says which no.
            UnexpectedAnswer: no NoETL server answers there.
        """
        return ended(self.wire.call(call))

    def exchange(self, call: Call[object]) -> Answer:
        """Make a call once, and return its answer as it is, also a refusal.

        Raises:
            Unreachable: no answer came.
        """
        return ended(self.wire.exchange(call))


class AsyncClient(Methods[AsyncWire]):
    """A client of one event loop, with the parameters of ``Client``. To be closed."""

    def __init__(self, server: str | Connection | None = None, *, key: str = "") -> None:
        super().__init__(AsyncWire(_connection(server, key)))

    async def __aenter__(self) -> Self:
        """Use it until the block ends."""
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self.wire.close()

    async def send[Wanted](self, call: Call[Wanted]) -> Wanted:
        """Make a call, again where that is safe; raises as ``Client.send`` does."""
        return await self.wire.call(call)

    async def exchange(self, call: Call[object]) -> Answer:
        """Make a call once, and return its answer; raises as ``Client.exchange`` does."""
        return await self.wire.exchange(call)


def _connection(server: str | Connection | None, key: str) -> Connection:
    if isinstance(server, str):
        return Connection(server, key)
    return server or Connection.from_environment()
