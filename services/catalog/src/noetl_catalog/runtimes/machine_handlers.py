"""Leases of machine ids, one function per operation."""

from noetl_common.bus.rpc import Handler, handle
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import (
    MACHINE_LEASE,
    MACHINE_RENEW,
    MachineLease,
    MachineLeaseRequest,
    MachineRenewRequest,
)

from noetl_catalog.runtimes.settings import RuntimeSettings
from noetl_catalog.runtimes.store import RuntimeStore


class MachineHandlers:
    """Leases of the machine ids in snowflakes (S1)."""

    def __init__(self, store: RuntimeStore, *, settings: RuntimeSettings) -> None:
        self._store = store
        self._settings = settings

    def handlers(self) -> list[Handler]:
        """Return the handlers."""
        return [handle(MACHINE_LEASE, self.on_lease), handle(MACHINE_RENEW, self.on_renew)]

    async def on_lease(self, request: MachineLeaseRequest) -> MachineLease | Refusal:
        """Lease a free machine id."""
        lease = await self._store.lease_machine(
            request.holder,
            high_water_ms=request.high_water_ms,
            lease_seconds=self._settings.machine_lease_seconds,
            allowance_seconds=self._settings.machine_clock_allowance_seconds,
        )
        return lease or Refusal(503, "All machine ids are leased")

    async def on_renew(self, request: MachineRenewRequest) -> MachineLease | Refusal:
        """Prolong a lease; 409 when it was lost."""
        machine_id, holder = request.machine_id, request.holder
        lease = await self._store.renew_machine(
            machine_id,
            holder=holder,
            high_water_ms=request.high_water_ms,
            lease_seconds=self._settings.machine_lease_seconds,
        )
        return lease or Refusal(409, f"Machine id {machine_id} is not leased by {holder}")
