"""Snowflake ids, and the lease of the machine id in them (S1)."""

import asyncio
import hashlib
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic

from noetl_contract.rpc.catalog import (
    MACHINE_LEASE,
    MACHINE_RENEW,
    MachineLease,
    MachineLeaseRequest,
    MachineRenewRequest,
)
from noetl_contract.sharding import shard_for

from noetl_common.bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_common.clock import Clock, unix_ms
from noetl_common.errors import NotMinting
from noetl_common.logging import get_logger
from noetl_common.retry import backoff

EPOCH_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z, where the milliseconds in ids begin."""
_MACHINE_BITS = 10
_SEQUENCE_BITS = 12
_LAST_SEQUENCE = (1 << _SEQUENCE_BITS) - 1

_log = get_logger()
_RPC_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_CLOCK_ALLOWANCE_MS = 5_000


class SnowflakeIds:
    """Ids that only grow within a process, whatever the clock does.

    Above the sequence's end and while the clock stands or goes back, the generator moves its
    own millisecond on instead of waiting.
    """

    def __init__(self, machine_id: int, clock: Clock = unix_ms, *, above_ms: int = 0) -> None:
        """Make ids above the Unix millisecond ``above_ms``, the last holder's high water."""
        self._clock = clock
        self._machine = 0
        self._last = -1
        self._sequence = _LAST_SEQUENCE
        self._forbidden: str | None = None
        self._until: float | None = None
        self._most_ms: int | None = None
        self.take_machine(machine_id, above_ms=above_ms)

    @property
    def machine_id(self) -> int:
        """The machine id in the ids made now."""
        return self._machine >> _SEQUENCE_BITS

    @property
    def high_water_ms(self) -> int:
        """The Unix millisecond of the newest id; no other holder may use it or one below."""
        return self._last + EPOCH_MS

    @property
    def is_minting(self) -> bool:
        """Whether ids can be made now."""
        return self._obstacle() is None

    async def is_ready(self) -> bool:
        """Readiness check."""
        return self.is_minting

    def next(self) -> int:
        """Return a new id, larger than every one before.

        Raises:
            NotMinting: the lease or the clock is in doubt.
        """
        if self._until is not None or self._forbidden is not None:
            self._check()
        now = self._clock() - EPOCH_MS
        if now > self._last:
            self._last = now
            self._sequence = 0
        elif now < 0:
            raise NotMinting(reason="the clock is before 2024")
        elif self._sequence < _LAST_SEQUENCE:
            self._sequence += 1
        else:
            self._last += 1
            self._sequence = 0
        if self._most_ms is not None and self._last > self._most_ms:
            raise NotMinting(reason="the time reserved with the lease is used up")
        return (self._last << (_MACHINE_BITS + _SEQUENCE_BITS)) | self._machine | self._sequence

    def take_machine(self, machine_id: int, *, above_ms: int) -> None:
        """Go on under a machine id, above its last holder's high water and all ids so far."""
        if not 0 <= machine_id < 1 << _MACHINE_BITS:
            raise ValueError(f"a machine id is 0 to 1023, not {machine_id}")
        self._machine = machine_id << _SEQUENCE_BITS
        last = max(self._last, above_ms - EPOCH_MS)
        if last > self._last:
            # As if that millisecond were used up: the next id is in a later one.
            self._last = last
            self._sequence = _LAST_SEQUENCE

    def allow(self, *, until: float, up_to_ms: int) -> None:
        """Make ids until ``monotonic()`` reaches ``until``, in milliseconds up to ``up_to_ms``."""
        self._forbidden = None
        self._until = until
        self._most_ms = up_to_ms - EPOCH_MS

    def forbid(self, reason: str) -> None:
        """Stop making ids until allowed again."""
        self._forbidden = reason

    def _obstacle(self) -> str | None:
        if self._forbidden is not None:
            return self._forbidden
        if self._until is not None and monotonic() >= self._until:
            return "the lease of the machine id could not be renewed"
        return None

    def _check(self) -> None:
        obstacle = self._obstacle()
        if obstacle is not None:
            raise NotMinting(reason=obstacle)


def time_of_id_ms(identifier: int) -> int:
    """Return the Unix millisecond in an id."""
    return (identifier >> (_MACHINE_BITS + _SEQUENCE_BITS)) + EPOCH_MS


def shard_of_name(name: str, *, shard_count: int) -> int:
    """Return the shard of a name, by its hash."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) % max(shard_count, 1)


def mint_on_shard_of(ids: SnowflakeIds, name: str, *, shard_count: int) -> int:
    """Mint an id on the shard of a name."""
    shard = shard_of_name(name, shard_count=shard_count)
    while shard_for(identifier := ids.next(), shard_count=shard_count) != shard:
        pass  # the next one falls elsewhere; after a few one falls here
    return identifier


def mint_beside(ids: SnowflakeIds, execution_id: int, *, shard_count: int) -> int:
    """Mint an id on the shard of an execution."""
    shard = shard_for(execution_id, shard_count=shard_count)
    while shard_for(identifier := ids.next(), shard_count=shard_count) != shard:
        pass
    return identifier


@asynccontextmanager
async def lease_machine_id(
    rpc_client: RpcClient,
    name: str,
    *,
    clock: Clock = unix_ms,
    allowance_ms: int = _CLOCK_ALLOWANCE_MS,
) -> AsyncIterator[SnowflakeIds]:
    """Lease a machine id from the catalog service and keep the lease while the block lasts.

    Waits until there is one. With each renewal the holder reserves the milliseconds it may
    use until the lease ends, as its high water; the next holder mints above them. When the
    lease can't be renewed or the clock is off the database's by more than ``allowance_ms``,
    ``next`` raises `NotMinting` until that is over; a lost lease is replaced.

    Args:
        rpc_client: asks the catalog.
        name: of the service; the holder's name in the lease adds host, process and chance.
        clock: the wall clock.
        allowance_ms: how far the clock may be off.
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
    """Return a name unique to this process, also after a restart under the same process id."""
    return f"{name}:{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class _Lease:
    def __init__(self, rpc: RpcClient, holder: str, clock: Clock, allowance_ms: int) -> None:
        self._rpc = rpc
        self._holder = holder
        self._clock = clock
        self._allowance_ms = allowance_ms
        self._seconds = 30.0

    async def acquire(self) -> SnowflakeIds:
        """Lease a machine id, reserve the first stretch of time, and only then make ids."""
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
        """Renew three times per lease; when it is lost, lease another machine id."""
        pause = self._seconds / 3
        while True:
            await asyncio.sleep(pause)
            pause = self._seconds / 3 if await self._renew(ids) else _FIRST_PAUSE_SECONDS * 5

    async def _renew(self, ids: SnowflakeIds) -> bool:
        """Renew the lease; return whether ids may be made now."""
        asked = monotonic()
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
            ids.forbid(f"the clock is off the database's by {drift} ms")
            _log.error("clock_off", drift_ms=drift)
            return False
        # Counted from before the question: the lease ends earlier here than there.
        ids.allow(until=asked + self._seconds, up_to_ms=reserved)
        return True

    async def _replace(self, ids: SnowflakeIds) -> bool:
        lease = await self._lease()
        if lease is None:
            return False
        _log.warning("machine_lease_replaced", old=ids.machine_id, new=lease.machine_id)
        ids.take_machine(lease.machine_id, above_ms=lease.high_water_ms)
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
