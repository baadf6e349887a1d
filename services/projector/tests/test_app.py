"""The whole service: every operation is answered, and a foreign database is refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from noetl_bus.broker import Bus, connect
from noetl_bus.rpc import RpcClient, handle, serve_rpc
from noetl_common.clock import unix_ms
from noetl_contract.rpc.catalog import (
    MACHINE_LEASE,
    MACHINE_RENEW,
    MachineLease,
    MachineLeaseRequest,
)
from noetl_contract.rpc.registry import all_operations
from noetl_pg.identity import WrongDatabase
from noetl_projector.app import open_parts
from noetl_projector.settings import Settings
from noetl_service.service import Service, supervise
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS

from services.projector.tests.conftest import make_settings


@asynccontextmanager
async def leasing(bus: Bus) -> AsyncIterator[None]:
    """Lease machine ids as the catalog does."""

    async def lease(_: MachineLeaseRequest) -> MachineLease:
        now = unix_ms()
        return MachineLease(machine_id=7, lease_seconds=60, high_water_ms=now, now_ms=now)

    handlers = [handle(MACHINE_LEASE, lease), handle(MACHINE_RENEW, lease)]
    async with serve_rpc(bus, handlers, queue="catalog"):
        yield


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[None]:
    service = Service("projector", settings)
    async with supervise(service, lambda service: open_parts(service, settings)):
        yield


async def test_every_operation_is_answered_on_the_subject_of_its_shard(
    database: Database, nats_url: str
) -> None:
    settings = make_settings(database, nats_url=nats_url)
    operations = [one for one in all_operations() if one.service == "projector"]
    async with connect(settings, name="test") as bus, leasing(bus), serving(settings):
        client = RpcClient(bus)
        replies = {
            operation.name: await client.call(operation.subject(0), b"[]", seconds=PATIENCE_SECONDS)
            for operation in operations
        }

    assert len(replies) > 30
    assert {(reply.status, reply.error) for reply in replies.values()} == {
        (400, "the request is no JSON object: not an object")
    }


async def test_s4_a_projector_with_another_shard_map_refuses_the_database(
    database: Database, nats_url: str
) -> None:
    database.run(
        "INSERT INTO noetl.shard_identity (cluster_id, shard_index, shard_count)"
        " VALUES ('noetl', 0, 2)"
    )
    settings = make_settings(database, nats_url=nats_url)
    with pytest.raises(WrongDatabase, match="shard 0 of 2"):
        async with supervise(
            Service("projector", settings), lambda service: open_parts(service, settings)
        ):
            pass
