"""The client's methods by their subject, for both clients."""

from noetl_client.bound import Bound, Sends
from noetl_client.calls import catalog, credentials, operation, schedules, triage
from noetl_client.wires import Wire


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
    """Credentials; their data goes in and is never read back."""

    store = Sends(credentials.store)
    list = Sends(credentials.listing)
    remove = Sends(credentials.remove)


class Schedules[W: Wire](Bound[W]):
    """Schedules; they are registered and removed as documents of the catalog."""

    list = Sends(schedules.listing)
    get = Sends(schedules.entry)
    pause = Sends(schedules.pause)
    resume = Sends(schedules.resume)
    next_times = Sends(schedules.next_times)
    history = Sends(schedules.history)
    backfill = Sends(schedules.backfill)


class Failures[W: Wire](Bound[W]):
    """Failures that were not handled yet."""

    list = Sends(triage.listing)
    restart = Sends(triage.restart)
    dismiss = Sends(triage.dismiss)


class Pauses[W: Wire](Bound[W]):
    """Paths and pools that are paused."""

    add = Sends(operation.pause)
    list = Sends(operation.pauses)
    remove = Sends(operation.resume)


class Keys[W: Wire](Bound[W]):
    """API keys."""

    create = Sends(operation.create_key)
    list = Sends(operation.keys)
    revoke = Sends(operation.revoke_key)
