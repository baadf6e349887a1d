"""The lease of the machine id, over a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from noetl_bus.broker import Bus
from noetl_bus.rpc import RpcClient, handle, serve_rpc
from noetl_common.clock import unix_ms
from noetl_common.errors import Conflict, NotMinting
from noetl_common.ids import SnowflakeIds, time_of_id_ms
from noetl_contract.rpc.catalog import (
    MACHINE_LEASE,
    MACHINE_RENEW,
    MachineLease,
    MachineLeaseRequest,
    MachineRenewRequest,
)
from noetl_service.machine_ids import lease_machine_id
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs


@dataclass
class FakeCatalog:
    """The catalog's two operations, over the real bus."""

    lease_seconds: float = 30.0
    machine_id: int = 7
    previous_high_water_ms: int = 0
    clock_offset_ms: int = 0
    lost: bool = False
    refused: int = 0
    renewals: list[MachineRenewRequest] = field(default_factory=list)

    async def lease(self, _request: MachineLeaseRequest) -> MachineLease:
        return self._answer()

    async def renew(self, request: MachineRenewRequest) -> MachineLease:
        if self.lost:
            self.refused += 1
            raise Conflict(what="the lease")
        self.renewals.append(request)
        return self._answer()

    def _answer(self) -> MachineLease:
        return MachineLease(
            machine_id=self.machine_id,
            lease_seconds=self.lease_seconds,
            high_water_ms=self.previous_high_water_ms,
            now_ms=unix_ms() + self.clock_offset_ms,
        )

    @asynccontextmanager
    async def served(self, bus: Bus) -> AsyncIterator[None]:
        handlers = [handle(MACHINE_LEASE, self.lease), handle(MACHINE_RENEW, self.renew)]
        async with serve_rpc(bus, handlers, queue="catalog"):
            yield


async def next_id(ids: SnowflakeIds) -> int:
    """Make an id as soon as the lease is fresh; on a busy machine it is old at times."""
    made: list[int] = []

    def is_made() -> bool:
        with suppress(NotMinting):
            made.append(ids.next())
        return bool(made)

    await eventually(is_made, what="an id is made")
    return made[0]


async def test_a_leased_id_is_used_and_renewed(bus: Bus) -> None:
    catalog = FakeCatalog(lease_seconds=0.6)
    async with catalog.served(bus), lease_machine_id(RpcClient(bus), "me") as ids:
        first = await next_id(ids)
        await eventually(lambda: len(catalog.renewals) >= 3)
        second = await next_id(ids)

    assert (first >> 12) & 1023 == 7
    assert second > first
    assert {7} == {renewal.machine_id for renewal in catalog.renewals}
    assert len({renewal.holder for renewal in catalog.renewals}) == 1
    assert catalog.renewals[0].holder.startswith("me:")


async def test_no_id_is_above_what_was_reserved_with_the_lease(bus: Bus) -> None:
    """The next holder mints above the reserved time, so this one must stay below."""
    catalog = FakeCatalog(lease_seconds=60)
    async with catalog.served(bus), lease_machine_id(RpcClient(bus), "me") as ids:
        reserved = catalog.renewals[0].high_water_ms
        made = ids.next()
        ids.use_machine(7, above_ms=reserved)
        with pytest.raises(NotMinting, match="reserved"):
            ids.next()

    assert time_of_id_ms(made) <= reserved
    assert reserved >= unix_ms()


async def test_the_next_holder_mints_above_the_one_before(bus: Bus) -> None:
    ahead = unix_ms() + 20_000
    catalog = FakeCatalog(previous_high_water_ms=ahead)
    async with catalog.served(bus), lease_machine_id(RpcClient(bus), "me") as ids:
        assert time_of_id_ms(ids.next()) == ahead + 1


async def test_without_renewal_no_ids_are_made(bus: Bus) -> None:
    """The machine id may belong to another process by now."""
    catalog = FakeCatalog(lease_seconds=1.0)
    async with unless_it_hangs():
        serving = catalog.served(bus)
        await serving.__aenter__()
        async with lease_machine_id(RpcClient(bus), "me") as ids:
            await eventually(ids.is_ready)
            await serving.__aexit__(None, None, None)
            await eventually(lambda: not ids.is_minting)
            with pytest.raises(NotMinting, match="renewed"):
                ids.next()

            async with catalog.served(bus):
                await eventually(lambda: ids.is_minting)


async def test_a_lost_lease_is_replaced_by_another_machine_id(bus: Bus) -> None:
    catalog = FakeCatalog(lease_seconds=1.0)
    async with catalog.served(bus), lease_machine_id(RpcClient(bus), "me") as ids:
        before = await next_id(ids)
        catalog.lost, catalog.machine_id = True, 8
        await eventually(lambda: catalog.refused and not ids.is_minting)
        catalog.lost = False
        after = await next_id(ids)

    assert (after >> 12) & 1023 == 8
    assert after > before


async def test_a_clock_that_is_off_makes_no_ids(bus: Bus) -> None:
    catalog = FakeCatalog(lease_seconds=1.0)
    async with catalog.served(bus), lease_machine_id(RpcClient(bus), "me") as ids:
        catalog.clock_offset_ms = -6_000

        def is_told() -> bool:
            # On a busy machine there are other reasons at times.
            try:
                ids.next()
            except NotMinting as error:
                return "clock" in str(error)
            return False

        await eventually(is_told, what="it is refused for the clock")


async def test_leasing_waits_for_the_catalog(bus: Bus) -> None:
    catalog = FakeCatalog()
    leased = asyncio.Event()

    async def lease() -> None:
        async with lease_machine_id(RpcClient(bus), "early"):
            leased.set()

    answers = bus.nc.stats["in_msgs"]
    leasing = asyncio.create_task(lease())
    # The broker's answer "no responders".
    await eventually(lambda: bus.nc.stats["in_msgs"] > answers)
    assert not leased.is_set()
    async with catalog.served(bus):
        await asyncio.wait_for(leasing, timeout=PATIENCE_SECONDS)
