"""The lease of the machine id that a process's ids contain (S1)."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic

from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_common.clock import Clock, unix_ms
from noetl_common.ids import SnowflakeIds
from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.rpc.catalog import (
    MACHINE_LEASE,
    MACHINE_RENEW,
    MachineLease,
    MachineLeaseRequest,
    MachineRenewRequest,
)

_log = get_logger()
_RPC_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_CLOCK_ALLOWANCE_MS = 5_000


@asynccontextmanager
async def lease_machine_id(
    rpc_client: RpcClient,
    name: str,
    *,
    clock: Clock = unix_ms,
    allowance_ms: int = _CLOCK_ALLOWANCE_MS,
) -> AsyncIterator[SnowflakeIds]:
    """Wait for a machine id of the catalog, and keep its lease while the block lasts.

    With each renewal, the holder reserves the milliseconds until the end of the lease; the next
    holder of the machine id generates ids above them. While the lease can't be renewed, or the wall
    clock differs from the database's by more than ``allowance_ms``, ``next`` raises `NotMinting`.
    A lost lease is replaced by a lease of another machine id.

    Args:
        rpc_client: client of the catalog.
        name: name of the service; the holder's name also contains host, process and random text.
        clock: the wall clock.
        allowance_ms: largest difference between the clocks.
    """
    lease = _Lease(rpc_client, _holder(name), clock, allowance_ms)
    ids = await lease.acquire()
    keeping = asyncio.create_task(lease.keep(ids), name="machine id lease")
    try:
        yield ids
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


def _holder(name: str) -> str:
    """Return a unique name of this process, even after a restart with the same process id."""
    return f"{name}:{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class _Lease:
    def __init__(self, rpc: RpcClient, holder: str, clock: Clock, allowance_ms: int) -> None:
        self._rpc = rpc
        self._holder = holder
        self._clock = clock
        self._allowance_ms = allowance_ms
        self._seconds = 30.0

    async def acquire(self) -> SnowflakeIds:
        """Lease a machine id, and return the generator once its first time is reserved."""
        pauses = backoff(first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS)
        while True:
            await anext(pauses)
            lease = await self._lease()
            if lease is None:
                continue
            ids = SnowflakeIds(lease.machine_id, self._clock, above_ms=lease.high_water_ms)
            ids.forbid("the lease is new")
            if await self._renew(ids):
                return ids

    async def keep(self, ids: SnowflakeIds) -> None:
        """Renew the lease three times per term; if it is lost, lease another machine id."""
        pause = self._seconds / 3
        while True:
            await asyncio.sleep(pause)
            pause = self._seconds / 3 if await self._renew(ids) else _FIRST_PAUSE_SECONDS * 5

    async def _renew(self, ids: SnowflakeIds) -> bool:
        """Renew the lease; return whether ids may be generated now."""
        asked_at = monotonic()
        reserved = max(self._clock(), ids.high_water_ms) + int(self._seconds * 1000)
        wanted = MachineRenewRequest(
            holder=self._holder, machine_id=ids.machine_id, high_water_ms=reserved
        )
        try:
            lease = await self._rpc.ask(MACHINE_RENEW, wanted, seconds=_RPC_SECONDS)
        except RpcRefused as error:
            if error.status in {404, 409, 410}:
                ids.forbid("the lease of the machine id is lost")
                return await self._replace(ids)
            _log.warning("machine_lease_refused", status=error.status, error=error.message)
            return False
        except RpcUnavailable as error:
            _log.info("machine_lease_unanswered", error=error.message)
            return False
        self._seconds = lease.lease_seconds
        drift = self._clock() - lease.now_ms
        if abs(drift) > self._allowance_ms:
            ids.forbid(f"the clock differs from the database's by {drift} ms")
            _log.error("clock_off", drift_ms=drift)
            return False
        # The term is counted from before the request, so it ends here earlier than in the catalog.
        ids.allow(until=asked_at + self._seconds, up_to_ms=reserved)
        return True

    async def _replace(self, ids: SnowflakeIds) -> bool:
        lease = await self._lease()
        if lease is None:
            return False
        _log.warning("machine_lease_replaced", old=ids.machine_id, new=lease.machine_id)
        ids.use_machine(lease.machine_id, above_ms=lease.high_water_ms)
        return False

    async def _lease(self) -> MachineLease | None:
        wanted = MachineLeaseRequest(holder=self._holder)
        try:
            lease = await self._rpc.ask(MACHINE_LEASE, wanted, seconds=_RPC_SECONDS)
        except RpcRefused as error:
            _log.warning("machine_lease_refused", status=error.status, error=error.message)
            return None
        except RpcUnavailable as error:
            _log.info("machine_lease_unanswered", error=error.message)
            return None
        self._seconds = lease.lease_seconds
        return lease
