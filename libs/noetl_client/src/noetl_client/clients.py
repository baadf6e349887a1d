"""The blocking client and the asynchronous client."""

from types import TracebackType
from typing import Self

from noetl_client import flows
from noetl_client.bound import Bound, Does, Sends, Yields, ended
from noetl_client.calls import (
    catalog,
    credentials,
    executions,
    operation,
    results,
    schedules,
    triage,
)
from noetl_client.calls.call import Call
from noetl_client.connection import Connection
from noetl_client.transport import Answer
from noetl_client.wires import AsyncWire, BlockingWire, Wire


class Catalog[W: Wire](Bound[W]):
    """Documents of the catalog."""

    register = Sends(catalog.register)
    validate = Sends(catalog.validate)
    list = Sends(catalog.entries)
    get = Sends(catalog.entry)
    get_by_id = Sends(catalog.entry_by_id)
    remove = Sends(catalog.remove)
    restore = Sends(catalog.restore)
    form = Sends(catalog.form)


class Credentials[W: Wire](Bound[W]):
    """Credentials, whose data can be stored but not read."""

    store = Sends(credentials.store)
    list = Sends(credentials.listing)
    remove = Sends(credentials.remove)


class Schedules[W: Wire](Bound[W]):
    """Schedules, which are registered and removed as documents of the catalog."""

    list = Sends(schedules.listing)
    get = Sends(schedules.entry)
    pause = Sends(schedules.pause)
    resume = Sends(schedules.resume)
    next_times = Sends(schedules.next_times)
    history = Sends(schedules.history)
    backfill = Sends(schedules.backfill)


class Failures[W: Wire](Bound[W]):
    """Failed executions that are not handled yet."""

    list = Sends(triage.listing)
    restart = Sends(triage.restart)
    dismiss = Sends(triage.dismiss)


class Pauses[W: Wire](Bound[W]):
    """Paused paths and pools."""

    add = Sends(operation.pause)
    list = Sends(operation.pauses)
    remove = Sends(operation.resume)


class Keys[W: Wire](Bound[W]):
    """API keys."""

    create = Sends(operation.create_key)
    list = Sends(operation.keys)
    revoke = Sends(operation.revoke_key)


class Methods[W: Wire](Bound[W]):
    """Methods of both clients; the methods of the asynchronous client return awaitables."""

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
    """A blocking client, which threads may share. It has to be closed.

    Args:
        server: address of the server, or the whole connection; by default from the environment.
        key: API key or another bearer token, if ``server`` is an address.

    Raises:
        BadAddress: the address is not valid.
    """

    def __init__(self, server: str | Connection | None = None, *, key: str = "") -> None:
        super().__init__(BlockingWire(_connection(server, key)))

    def __enter__(self) -> Self:
        """Use the client until the block ends."""
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
        """Make a call, and retry it if that is safe.

        Raises:
            Unreachable: no answer arrived.
            Refused: the server refused the call; the subclass depends on the status.
            UnexpectedAnswer: the answer is not of a NoETL server.
        """
        return ended(self.wire.call(call))

    def exchange(self, call: Call[object]) -> Answer:
        """Make a call without retries, and return its answer, even if it is a refusal.

        Raises:
            Unreachable: no answer arrived.
        """
        return ended(self.wire.exchange(call))


class AsyncClient(Methods[AsyncWire]):
    """A client of one event loop, with the parameters of ``Client``. It has to be closed."""

    def __init__(self, server: str | Connection | None = None, *, key: str = "") -> None:
        super().__init__(AsyncWire(_connection(server, key)))

    async def __aenter__(self) -> Self:
        """Use the client until the block ends."""
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
        """Make a call, and retry it if that is safe; raises the errors of ``Client.send``."""
        return await self.wire.call(call)

    async def exchange(self, call: Call[object]) -> Answer:
        """Make a call without retries; raises the errors of ``Client.exchange``."""
        return await self.wire.exchange(call)


def _connection(server: str | Connection | None, key: str) -> Connection:
    if isinstance(server, str):
        return Connection(server, key)
    return server or Connection.from_environment()
