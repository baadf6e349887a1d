"""Leases of machine ids, one function per request."""

from noetl_common.bus.rpc import RpcHandler
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply

from noetl_catalog.rpc import by_subject, refused
from noetl_catalog.runtimes.settings import RuntimeSettings
from noetl_catalog.runtimes.store import MachineLease, RuntimeStore


class MachineHandlers:
    """Leases of the machine ids in snowflakes (S1)."""

    def __init__(self, store: RuntimeStore, *, settings: RuntimeSettings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return by_subject({"machine.lease": self.on_lease, "machine.renew": self.on_renew})

    async def on_lease(self, request: JsonObject) -> RpcReply:
        """Lease a free machine id."""
        lease = await self._store.lease_machine(
            str(request["holder"]),
            high_water_ms=int(request.get("high_water_ms") or 0),
            lease_seconds=self._settings.machine_lease_seconds,
            allowance_seconds=self._settings.machine_clock_allowance_seconds,
        )
        if lease is None:
            return refused(503, "All machine ids are leased")
        return self._answer(lease)

    async def on_renew(self, request: JsonObject) -> RpcReply:
        """Prolong a lease; 409 when it was lost."""
        machine_id, holder = int(request["machine_id"]), str(request["holder"])
        lease = await self._store.renew_machine(
            machine_id,
            holder=holder,
            high_water_ms=int(request.get("high_water_ms") or 0),
            lease_seconds=self._settings.machine_lease_seconds,
        )
        if lease is None:
            return refused(409, f"Machine id {machine_id} is not leased by {holder}")
        return self._answer(lease)

    def _answer(self, lease: MachineLease) -> RpcReply:
        return RpcReply(
            body={
                "machine_id": lease.machine_id,
                "lease_seconds": self._settings.machine_lease_seconds,
                "high_water_ms": lease.high_water_ms,
                "now_ms": lease.now_ms,
            }
        )
