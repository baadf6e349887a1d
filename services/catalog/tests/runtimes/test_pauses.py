"""Pauses of paths and pools: stored, listed, sent to orchestrators."""

from services.catalog.tests.world import World


async def test_a_pause_is_kept_told_and_taken_back(world: World) -> None:
    put = await world.ok("pause.put", kind="pool", name="gpu", reason="drivers")
    assert (put["kind"], put["name"], put["reason"], put["actor"]) == (
        "pool",
        "gpu",
        "drivers",
        None,
    )
    await world.ok("pause.put", kind="path", name="/reports/nightly/")
    await world.ok("pause.put", kind="pool", name="gpu", reason="still")

    listed = (await world.ok("pause.list"))["pauses"]
    told = (await world.ok("runtime.liveness"))["pauses"]

    assert [(one["name"], one["reason"]) for one in listed] == [
        ("reports/nightly", None),
        ("gpu", "still"),
    ]
    assert told == [
        {"kind": "path", "name": "reports/nightly"},
        {"kind": "pool", "name": "gpu"},
    ]
    assert await world.ok("pause.lift", kind="path", name="reports/nightly") == {"lifted": True}
    assert await world.ok("pause.lift", kind="path", name="reports/nightly") == {"lifted": False}
    assert len((await world.ok("pause.list"))["pauses"]) == 1
