"""The client's methods by what they are about, for both clients."""

from noetl_client.bound import AsyncSender, AsyncSends, Sender, Sends
from noetl_client.calls import catalog, credentials, operation, schedules, triage
from noetl_client.calls.call import Call


class Group:
    """Methods of a client about one thing."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def send[Answer](self, call: Call[Answer]) -> Answer:
        """Make a call."""
        return self._sender.send(call)


class AsyncGroup:
    """Methods of an asynchronous client about one thing."""

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def send[Answer](self, call: Call[Answer]) -> Answer:
        """Make a call."""
        return await self._sender.send(call)


class Catalog(Group):
    """Documents of the catalog."""

    register = Sends(catalog.register)
    validate = Sends(catalog.validate)
    list = Sends(catalog.entries)
    get = Sends(catalog.entry)
    get_by_id = Sends(catalog.entry_by_id)
    remove = Sends(catalog.remove)
    restore = Sends(catalog.restore)
    form = Sends(catalog.form)


class AsyncCatalog(AsyncGroup):
    """Documents of the catalog."""

    register = AsyncSends(catalog.register)
    validate = AsyncSends(catalog.validate)
    list = AsyncSends(catalog.entries)
    get = AsyncSends(catalog.entry)
    get_by_id = AsyncSends(catalog.entry_by_id)
    remove = AsyncSends(catalog.remove)
    restore = AsyncSends(catalog.restore)
    form = AsyncSends(catalog.form)


class Credentials(Group):
    """Credentials; their data goes in and is never read back."""

    store = Sends(credentials.store)
    list = Sends(credentials.listing)
    remove = Sends(credentials.remove)


class AsyncCredentials(AsyncGroup):
    """Credentials; their data goes in and is never read back."""

    store = AsyncSends(credentials.store)
    list = AsyncSends(credentials.listing)
    remove = AsyncSends(credentials.remove)


class Schedules(Group):
    """Schedules; they are registered and removed as documents of the catalog."""

    list = Sends(schedules.listing)
    get = Sends(schedules.entry)
    pause = Sends(schedules.pause)
    resume = Sends(schedules.resume)
    next_times = Sends(schedules.next_times)
    history = Sends(schedules.history)
    backfill = Sends(schedules.backfill)


class AsyncSchedules(AsyncGroup):
    """Schedules; they are registered and removed as documents of the catalog."""

    list = AsyncSends(schedules.listing)
    get = AsyncSends(schedules.entry)
    pause = AsyncSends(schedules.pause)
    resume = AsyncSends(schedules.resume)
    next_times = AsyncSends(schedules.next_times)
    history = AsyncSends(schedules.history)
    backfill = AsyncSends(schedules.backfill)


class Failures(Group):
    """Failures that nobody has looked at yet."""

    list = Sends(triage.listing)
    restart = Sends(triage.restart)
    dismiss = Sends(triage.dismiss)


class AsyncFailures(AsyncGroup):
    """Failures that nobody has looked at yet."""

    list = AsyncSends(triage.listing)
    restart = AsyncSends(triage.restart)
    dismiss = AsyncSends(triage.dismiss)


class Pauses(Group):
    """Paths and pools that are paused."""

    add = Sends(operation.pause)
    list = Sends(operation.pauses)
    remove = Sends(operation.resume)


class AsyncPauses(AsyncGroup):
    """Paths and pools that are paused."""

    add = AsyncSends(operation.pause)
    list = AsyncSends(operation.pauses)
    remove = AsyncSends(operation.resume)


class Keys(Group):
    """API keys."""

    create = Sends(operation.create_key)
    list = Sends(operation.keys)
    revoke = Sends(operation.revoke_key)


class AsyncKeys(AsyncGroup):
    """API keys."""

    create = AsyncSends(operation.create_key)
    list = AsyncSends(operation.keys)
    revoke = AsyncSends(operation.revoke_key)
