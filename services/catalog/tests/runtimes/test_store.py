"""Statements about runtimes and machine ids against a real PostgreSQL."""

import asyncio

import pytest
from noetl_catalog.runtimes.store import RuntimeStore
from noetl_contract.http.scalars import parse_moment
from noetl_contract.http.workers.runtimes import RuntimeBeat, RuntimeEntry, RuntimeRegistration
from noetl_contract.json import Json
from noetl_pg.database import Database
from noetl_pg.pool import Pool


@pytest.fixture
def store(pool: Pool) -> RuntimeStore:
    return RuntimeStore(Database(pool))


async def register(
    store: RuntimeStore, runtime_id: int, *, instance: str | None = None, **changes: Json
) -> RuntimeEntry:
    worker = {"name": "w-1", "kind": "worker_pool", "status": "ready", **changes}
    entry = await store.register_runtime(
        runtime_id, RuntimeRegistration(**worker), instance=instance, silent_seconds=60
    )
    assert entry is not None
    return entry


def make_beat(name: str, *, over_edge: bool = False) -> RuntimeBeat:
    return RuntimeBeat(kind="worker_pool", name=name, over_edge=over_edge)


@pytest.mark.parametrize(
    ("second", "is_new"),
    [("one", False), ("two", True), (None, False)],
    ids=["same process", "another process", "registration as heartbeat"],
)
async def test_process_begins_anew_only_with_another_instance(
    store: RuntimeStore, second: str | None, *, is_new: bool
) -> None:
    """L4: only that makes older claims void."""
    first = await register(store, 1, instance="one")
    since = (await store.list_liveness()).workers["w-1"].process_since
    again = await register(store, 2, instance=second)
    now = (await store.list_liveness()).workers["w-1"].process_since

    assert first.runtime_id == again.runtime_id == 1
    assert (now != since) is is_new


async def test_worker_that_left_stays_visible_to_leases_and_stays_left(store: RuntimeStore) -> None:
    await register(store, 1, instance="one")
    assert await store.deregister_runtime("worker_pool", name="w-1", principal=None)

    heard = await store.touch_runtimes([make_beat("w-1")])
    seen = (await store.list_liveness()).workers["w-1"]
    listed = await store.list_runtimes(kind="worker_pool", status=None, name_part=None, limit=9)

    assert heard == {("worker_pool", "w-1"): False}
    assert seen.deregistered_at is not None
    assert listed == []
    assert not await store.deregister_runtime("worker_pool", name="w-1", principal=None)


async def test_registering_again_after_leaving_keeps_the_process_of_the_same_instance(
    store: RuntimeStore,
) -> None:
    await register(store, 1, instance="one")
    since = (await store.list_liveness()).workers["w-1"].process_since
    await store.deregister_runtime("worker_pool", name="w-1", principal=None)
    await register(store, 2, instance="one")

    seen = (await store.list_liveness()).workers["w-1"]

    assert (seen.process_since, seen.deregistered_at) == (since, None)
    assert seen.left_at is not None, "what it had was given back, not lost"


async def test_heartbeat_moves_only_the_named_rows(store: RuntimeStore) -> None:
    for number in range(1, 4):
        await register(store, number, name=f"w-{number}")
    before = (await store.list_liveness()).workers
    await store.touch_runtimes([make_beat("w-2"), make_beat("w-2")])
    after = (await store.list_liveness()).workers

    moved = {name for name in after if after[name].heartbeat_at != before[name].heartbeat_at}

    assert moved == {"w-2"}


async def test_way_of_a_heartbeat_is_the_last_one(store: RuntimeStore) -> None:
    """L3: a worker may change its transport under the same name."""
    await register(store, 1, over_edge=True)
    registered = (await store.list_liveness()).workers["w-1"].over_edge
    await store.touch_runtimes([make_beat("w-1")])
    heard = (await store.list_liveness()).workers["w-1"].over_edge
    await store.touch_runtimes([make_beat("w-1"), make_beat("w-1", over_edge=True)])
    both = (await store.list_liveness()).workers["w-1"].over_edge
    await store.insert_heard_runtimes([(2, make_beat("w-2", over_edge=True))])
    unknown = (await store.list_liveness()).workers["w-2"].over_edge

    assert (registered, heard, both, unknown) == (True, False, True, True)


async def test_edges_are_told_from_workers_until_they_leave(store: RuntimeStore) -> None:
    empty = await store.list_liveness()
    await register(store, 1)
    await register(store, 2, name="e-1", kind="server_api", instance="one")
    before = await store.list_liveness()
    await store.deregister_runtime("server_api", name="e-1", principal=None)
    after = await store.list_liveness()

    assert (empty.edges, empty.workers) == ({}, {})
    assert (set(before.edges), set(before.workers)) == ({"e-1"}, {"w-1"})
    assert parse_moment(before.edges["e-1"].heartbeat_at) <= parse_moment(before.now)
    assert after.edges == {}


async def test_hundred_holders_get_hundred_machine_ids(store: RuntimeStore) -> None:
    """S1."""
    leases = await asyncio.gather(
        *(
            store.lease_machine(
                f"holder-{number}", high_water_ms=0, lease_seconds=30, allowance_seconds=5
            )
            for number in range(100)
        )
    )

    ids = {lease.machine_id for lease in leases if lease is not None}
    assert len(ids) == 100
    assert 0 not in ids


async def test_next_holder_mints_above_everything_the_last_one_could_have_minted(
    store: RuntimeStore, pool: Pool
) -> None:
    """S1: above its high water, and above the end of its lease by a clock that runs ahead."""
    await pool.execute(
        "INSERT INTO noetl.machine_lease (machine_id, holder, lease_until, high_water_ms)"
        " SELECT number, 'dead', now() - interval '1 second', 4102444800000"
        " FROM generate_series(1, 1023) AS number"
    )
    lease = await store.lease_machine(
        "alive", high_water_ms=0, lease_seconds=30, allowance_seconds=5
    )
    await pool.execute("UPDATE noetl.machine_lease SET high_water_ms = 0")
    other = await store.lease_machine(
        "other", high_water_ms=0, lease_seconds=30, allowance_seconds=5
    )

    assert lease is not None
    assert lease.high_water_ms == 4102444800000
    assert other is not None
    assert other.machine_id != lease.machine_id
    assert 3_000 < other.high_water_ms - other.now_ms < 5_000


async def test_no_lease_while_all_machines_are_held(store: RuntimeStore, pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO noetl.machine_lease (machine_id, holder, lease_until)"
        " SELECT number, 'alive', now() + interval '1 minute' FROM generate_series(1, 1023) number"
    )

    assert (
        await store.lease_machine("late", high_water_ms=0, lease_seconds=30, allowance_seconds=5)
        is None
    )


async def test_lease_taken_over_cannot_be_renewed(store: RuntimeStore, pool: Pool) -> None:
    lease = await store.lease_machine("one", high_water_ms=0, lease_seconds=30, allowance_seconds=5)
    assert lease is not None
    renewed = await store.renew_machine(
        lease.machine_id, holder="one", high_water_ms=99, lease_seconds=30
    )
    await pool.execute("UPDATE noetl.machine_lease SET holder = 'two'")

    assert renewed is not None
    assert renewed.high_water_ms == 99
    assert (
        await store.renew_machine(
            lease.machine_id, holder="one", high_water_ms=100, lease_seconds=30
        )
        is None
    )


async def test_only_worker_pools_that_are_silent_for_long_go(
    store: RuntimeStore, pool: Pool
) -> None:
    for number, (kind, minutes) in enumerate(
        [("worker_pool", 90), ("worker_pool", 30), ("server_api", 90)]
    ):
        await pool.execute(
            "INSERT INTO noetl.runtime (runtime_id, name, kind, status, heartbeat)"
            " VALUES ($1, $2, $3, 'ready', now() - make_interval(mins => $4))",
            number,
            f"r{number}",
            kind,
            minutes,
        )

    purged = await store.delete_silent_workers(silent_minutes=60)

    assert purged == 1
    rows = await pool.fetch("SELECT name FROM noetl.runtime ORDER BY 1")
    assert [row["name"] for row in rows] == ["r1", "r2"]
