"""W10: cancels reach children as outbox rows."""

from noetl_testkit.waiting import eventually

from services.orchestrator.tests.shard import Shard


async def test_w10_a_cascading_cancel_is_an_outbox_row_for_each_child(shard: Shard) -> None:
    await shard.open_replica()
    parent = await shard.start()
    child = await shard.start(parent_execution_id=parent)
    grandchild = await shard.start(parent_execution_id=child)
    stranger = await shard.start()

    answer = await shard.send(
        parent, {"type": "cancel", "execution_id": parent, "cascade": True, "reason": "enough"}
    )

    assert answer["body"]["cancelled_executions"] == [str(e) for e in (parent, child, grandchild)]
    (row,) = await shard.pool.fetch("SELECT * FROM noetl.outbox WHERE kind = 'message'")
    assert row["subject"] == f"noetl_ingress.0.{child}.cancel"
    await shard.publish(child, row["payload"])
    await eventually(shard.ingress_is_empty)
    rows = await shard.pool.fetch("SELECT * FROM noetl.outbox WHERE kind = 'message'")
    assert {row["execution_id"] for row in rows} == {child, grandchild}
    statuses = {e: (await shard.state(e))["status"] for e in (parent, child, stranger)}
    assert statuses == {parent: "CANCELLED", child: "CANCELLED", stranger: "RUNNING"}


async def test_w10_a_cancel_without_cascade_leaves_children_alone(shard: Shard) -> None:
    await shard.open_replica()
    parent = await shard.start()
    await shard.start(parent_execution_id=parent)

    await shard.send(parent, {"type": "cancel", "execution_id": parent})

    assert (
        await shard.pool.fetchval("SELECT count(*) FROM noetl.outbox WHERE kind = 'message'") == 0
    )
