"""Children: found again by a command that is issued again (L6), and reached by an end (R8)."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import orjson
import pytest
from msgspec import convert
from noetl_common.errors import Unavailable
from noetl_contract.ingress import CancelMessage, ExecuteMessage
from noetl_contract.json import Json
from noetl_contract.rpc.orchestrator import ChildRequest, ChildReserved
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import ingress_subject
from noetl_engine.outputs import Answer
from noetl_orchestrator.leases.children import Children, FindCompleted, none_completed
from noetl_orchestrator.leases.timers import take_due_timers
from noetl_orchestrator.log.commit_parameters import CommitParameters
from noetl_orchestrator.log.stored_rows import Committed
from noetl_orchestrator.publishing.outbox_rows import ChildToCancel, OutboxRows
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.inputs import Group, TurnInput
from noetl_pg.database import Database
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.playbooks import LINEAR
from services.orchestrator.tests.shard import Shard

PARENT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: parent, path: tests/parent}
workflow:
  - step: start
    tool: {kind: playbook, path: tests/child, return_step: end}
"""

ASYNC = PARENT.replace(", return_step: end", "")
PIPELINE = PARENT.replace(
    "{kind: playbook, path: tests/child, return_step: end}",
    "[{name: sub, kind: playbook, path: tests/child, return_step: end}, {name: x, kind: noop}]",
)


async def reserve(
    shard: Shard,
    command: Command,
    payload: Json = None,
    *,
    child_id: int | None = None,
    path: str = "tests/child",
    find_completed: FindCompleted = none_completed,
) -> Json:
    handler = Children(Database(shard.pool), Settings())
    handler.find_completed = find_completed
    digest = hashlib.sha256(orjson.dumps(payload)).hexdigest()
    reply = await handler.on_child(
        ChildRequest(
            execution_id=command.execution_id,
            event_id=command.event_id,
            child_id=child_id or shard.ids.next(),
            path=path,
            payload_digest=digest,
        )
    )
    return reply.child_id if isinstance(reply, ChildReserved) else reply


async def begin_child(shard: Shard, parent: Command, *, child_id: int | None = None) -> int:
    """Start a child as the edge does."""
    child_id = await reserve(shard, parent, child_id=child_id)
    return await shard.start(LINEAR, execution_id=child_id, parent_execution_id=parent.execution_id)


async def begin_parent(shard: Shard, text: str = PARENT) -> Command:
    execution_id = await shard.start(text)
    command = await shard.command(execution_id)
    await shard.send(execution_id, shard.fast(command, "command.start"))
    return command


async def issue_again(shard: Shard, command: Command) -> None:
    """Raise the holds, as after a sweep and another worker's claim."""
    await shard.pool.execute(
        "UPDATE noetl.command SET holds = holds + 1 WHERE event_id = $1", command.event_id
    )


async def messages(shard: Shard, owner: int) -> dict[int, Json]:
    """The messages that the end of an execution sends, by execution."""
    rows = await shard.pool.fetch(
        "SELECT o.execution_id, o.subject, o.payload FROM noetl.outbox o JOIN noetl.event e"
        " ON e.execution_id = $1 AND e.event_id = o.event_id WHERE o.kind = 'message'",
        owner,
    )
    for row in rows:
        assert row["subject"] == ingress_subject(0, execution_id=row["execution_id"], kind="cancel")
    return {row["execution_id"]: row["payload"] for row in rows}


async def test_a_child_is_told_whose_it_is_on_its_parent_s_shard_too(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start(PARENT, owner="ada", namespace="team-a")
    command = await shard.command(execution_id)
    await shard.send(execution_id, shard.fast(command, "command.start"))
    for event_id in (command.event_id, None):
        told = await Children(Database(shard.pool), Settings()).on_child(
            ChildRequest(
                execution_id=execution_id,
                event_id=event_id,
                child_id=shard.ids.next(),
                path="team-b/x",
                payload_digest="",
            )
        )
        assert isinstance(told, ChildReserved)
        assert (told.owner, told.namespace) == ("ada", "team-a")


# -- found again -------------------------------------------------------------------------


async def test_the_kth_start_of_a_new_run_finds_the_kth_child_of_the_run_before(
    shard: Shard,
) -> None:
    await shard.open_replica()
    command = await begin_parent(shard)
    first = [await reserve(shard, command, payload) for payload in ("a", "b", "a")]
    assert len(set(first)) == 3

    await issue_again(shard, command)
    assert [await reserve(shard, command, payload) for payload in ("a", "b")] == first[:2]
    assert await reserve(shard, command, "a") == first[2]
    fresh = await reserve(shard, command, "a")
    assert fresh not in first

    await issue_again(shard, command)
    again = [await reserve(shard, command, payload) for payload in ("a", "a", "a", "b")]
    assert again == [first[0], first[2], fresh, first[1]]


async def test_a_child_is_found_by_path_and_payload(shard: Shard) -> None:
    """A new run may call in another order; no start gets another playbook's child."""
    await shard.open_replica()
    command = await begin_parent(shard)
    first, second = [await reserve(shard, command, "a", path=path) for path in ("one", "two")]

    await issue_again(shard, command)
    again = [await reserve(shard, command, "a", path=path) for path in ("two", "one")]

    assert again == [second, first]


async def test_a_run_that_calls_before_its_start_is_in_the_log_is_the_first(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start(PARENT)
    command = await shard.command(execution_id)
    before = await reserve(shard, command)
    await shard.send(execution_id, shard.fast(command, "command.start"))

    assert await reserve(shard, command) != before


async def test_a_child_is_noted_before_its_command_ends_or_not_at_all(shard: Shard) -> None:
    await shard.open_replica()
    command = await begin_parent(shard)
    end = "UPDATE noetl.command SET status = 'CANCELLED' WHERE event_id = $1"
    async with shard.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(end, command.event_id)
        noting = asyncio.create_task(reserve(shard, command))

        async def is_waiting() -> bool:
            return bool(
                await shard.pool.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
                )
            )

        await eventually(lambda: _either(noting, is_waiting))
        await transaction.commit()

    assert (await noting).status == 409
    assert await shard.pool.fetchval("SELECT count(*) FROM noetl.child") == 0


async def _either(task: asyncio.Task[Json], condition: Callable[[], Awaitable[bool]]) -> bool:
    return task.done() or await condition()


async def test_starts_at_the_same_time_never_share_a_child(shard: Shard) -> None:
    await shard.open_replica()
    command = await begin_parent(shard)
    first = {await reserve(shard, command) for _ in range(8)}
    await issue_again(shard, command)
    found = await asyncio.gather(*(reserve(shard, command) for _ in range(10)))

    assert len(set(found)) == 10
    assert set(found) >= first


async def test_the_same_start_again_has_one_effect(shard: Shard) -> None:
    await shard.open_replica()
    command = await begin_parent(shard)
    child_id = await begin_child(shard, command)
    types = await shard.types(child_id)
    await issue_again(shard, command)

    assert await begin_child(shard, command) == child_id
    assert await shard.types(child_id) == types


async def test_a_run_that_is_over_starts_no_children(shard: Shard) -> None:
    await shard.open_replica()
    command = await begin_parent(shard)
    await shard.send(command.execution_id, shard.fast(command))
    reply = await reserve(shard, command)

    assert (reply.status, reply.detail["code"]) == (409, "already_terminal")
    assert await shard.pool.fetch("SELECT * FROM noetl.child") == []


async def test_an_unknown_command_s_start_is_one_like_any_other(shard: Shard) -> None:
    unknown = Command(shard.ids.next(), shard.ids.next(), "x", "x")

    assert await reserve(shard, unknown, child_id=77) == 77


async def test_a_child_on_another_shard_is_noted_and_takes_over_the_trace(shard: Shard) -> None:
    await shard.open_replica()
    parent = await shard.start(ASYNC, trace={"traceparent": "00-1"})
    await shard.pool.execute("DELETE FROM noetl.child")
    far = next(one for one in iter(shard.ids.next, 0) if shard_for(one, shard_count=9) != 0)
    handler = Children(
        Database(shard.pool), Settings(shard_index=shard_for(parent, shard_count=9), shard_count=9)
    )
    while shard_for(far, shard_count=9) == shard_for(parent, shard_count=9):
        far = shard.ids.next()
    request = ChildRequest(execution_id=parent, child_id=far, path="tests/child")
    reply = await handler.on_child(request)

    assert reply == ChildReserved(
        child_id=far, trace={"traceparent": "00-1"}, root_execution_id=parent, depth=1
    )
    assert await shard.pool.fetchval("SELECT child_id FROM noetl.child") == far
    cancel = {"type": "cancel", "execution_id": parent, "cascade": True}
    await shard.send(parent, cancel)
    rows = await shard.pool.fetch("SELECT execution_id FROM noetl.outbox WHERE kind = 'message'")
    assert [row["execution_id"] for row in rows] == [far]


def test_w10_a_cancel_goes_to_the_shard_of_the_child() -> None:
    outbox_rows = OutboxRows.of(Settings(shard_count=4), lambda: 9)
    for child_id in range(20):
        child = ChildToCancel(child_id, 5, None, cascade=False)
        row = outbox_rows.cancel_row(child, owner=1)
        shard = shard_for(child_id, shard_count=4)

        assert row.subject == ingress_subject(shard, execution_id=child_id, kind="cancel")


# -- reached by an end -------------------------------------------------------------------


@pytest.mark.parametrize("text", [PARENT, PIPELINE], ids=["single", "pipeline"])
async def test_a_cancel_goes_on_to_the_child_that_is_waited_for(shard: Shard, text: str) -> None:
    replica = await shard.open_replica()
    command = await begin_parent(shard, text)
    child_id = await begin_child(shard, command)
    replica.rooms.cache.forget(command.execution_id)
    answer = await shard.send(
        command.execution_id,
        {"type": "cancel", "execution_id": command.execution_id, "reason": "enough"},
    )

    ids = [str(command.execution_id), str(child_id)]
    assert answer["body"]["cancelled_executions"] == ids
    sent = await messages(shard, command.execution_id)
    assert sent[child_id]["reason"] == "enough"
    assert (sent[child_id].get("cascade"), sent[child_id]["by_parent"]) == (None, True)
    await shard.send(child_id, sent[child_id])
    assert (await shard.state(child_id))["status"] == "CANCELLED"


async def test_a_child_without_a_waiting_parent_continues_unless_the_cancel_cascades(
    shard: Shard,
) -> None:
    await shard.open_replica()
    for cascade in (False, True):
        command = await begin_parent(shard, ASYNC)
        child_id = await begin_child(shard, command)
        cancel = {"type": "cancel", "execution_id": command.execution_id, "cascade": cascade}
        await shard.send(command.execution_id, cancel)
        sent = await messages(shard, command.execution_id)

        assert list(sent) == ([child_id] if cascade else [])


async def test_a_finished_child_is_left_alone(shard: Shard) -> None:
    await shard.open_replica()
    command = await begin_parent(shard)
    child_id = await begin_child(shard, command)
    await shard.send(child_id, {"type": "finalize", "execution_id": child_id, "status": "FAILED"})
    await shard.send(command.execution_id, {"type": "cancel", "execution_id": command.execution_id})

    assert await messages(shard, command.execution_id) == {}


async def test_a_child_of_an_ended_command_is_no_longer_waited_for(shard: Shard) -> None:
    await shard.open_replica()
    text = PARENT + "    next: {arcs: [{step: last}]}\n  - step: last\n    tool: {kind: noop}\n"
    command = await begin_parent(shard, text)
    await begin_child(shard, command)
    await shard.send(command.execution_id, shard.fast(command))
    await shard.send(command.execution_id, {"type": "cancel", "execution_id": command.execution_id})

    assert await messages(shard, command.execution_id) == {}


async def test_a_step_s_time_limit_reaches_the_child_that_it_waits_for(shard: Shard) -> None:
    """Its execution goes on by the step's error arc."""
    replica = await shard.open_replica()
    text = PARENT.replace("step: start\n", "step: start\n    spec: {timeout: 30}\n") + (
        "    next: {arcs: [{step: last, when: '{{ event.name == \"call.error\" }}'}]}\n"
        "  - step: last\n    tool: {kind: noop}\n"
    )
    command = await begin_parent(shard, text)
    child_id = await begin_child(shard, command)
    await shard.pool.execute("UPDATE noetl.timer SET due_at = now()")
    rooms = replica.rooms
    await take_due_timers(rooms.store, rooms.dispatcher, replica.settings)

    async def is_told() -> bool:
        return bool(await messages(shard, command.execution_id))

    await eventually(is_told)
    sent = await messages(shard, command.execution_id)
    types = await shard.types(command.execution_id)
    await shard.send(child_id, sent[child_id])

    assert types[-1] == "command.issued"
    assert str(command.execution_id) in sent[child_id]["reason"]
    assert (await shard.state(child_id))["status"] == "CANCELLED"


async def test_finalize_goes_on_to_the_child_that_is_waited_for(shard: Shard) -> None:
    await shard.open_replica()
    command = await begin_parent(shard)
    child_id = await begin_child(shard, command)
    finalize = {"type": "finalize", "execution_id": command.execution_id, "status": "COMPLETED"}
    await shard.send(command.execution_id, finalize)

    sent = await messages(shard, command.execution_id)
    assert sent[child_id]["reason"] == f"Parent execution {command.execution_id} ended: COMPLETED"


async def test_an_execution_failed_without_a_fold_tells_its_child(shard: Shard) -> None:
    replica = await shard.open_replica()
    command = await begin_parent(shard)
    child_id = await begin_child(shard, command)
    shard.playbooks.clear()
    rooms = replica.rooms
    rooms.cache.forget(command.execution_id)
    rooms.playbooks._kept.clear()
    await shard.send(command.execution_id, shard.fast(command))

    assert (await shard.state(command.execution_id))["status"] == "FAILED"
    assert list(await messages(shard, command.execution_id)) == [child_id]


async def test_a_child_noted_while_its_parent_ends_is_reached_too(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await shard.open_replica()
    command = await begin_parent(shard)
    store = replica.rooms.store
    commit, noted = store.commit_turn, []

    async def commit_late(parameters: CommitParameters) -> Committed:
        if not noted:
            noted.append(await reserve(shard, command))
        return await commit(parameters)

    monkeypatch.setattr(store, "commit_turn", commit_late)
    await shard.send(command.execution_id, {"type": "cancel", "execution_id": command.execution_id})

    assert list(await messages(shard, command.execution_id)) == noted


# -- a cancel that overtakes its child's start ---------------------------------------------


@dataclass
class Noting:
    """A caller that notes its answers."""

    noted: list[object] = field(default_factory=list)
    is_waiting = True

    def taken(self) -> None:
        pass

    async def answered(self, answer: Answer) -> None:
        self.noted.append(answer.status)

    async def refused(self, reason: str, answer: Answer) -> None:
        self.noted.append((reason, answer.status))

    async def given_back(self, delay_seconds: float) -> None:
        self.noted.append(delay_seconds)


async def test_a_parent_s_cancel_waits_for_the_start_and_comes_after_it(shard: Shard) -> None:
    replica = await shard.open_replica(loops=False)
    rooms = replica.rooms
    for early, told in ((True, 5.0), (False, 404)):
        caller = Noting()
        child_id = shard.ids.next()
        turn_input = TurnInput(
            child_id, CancelMessage(execution_id=child_id), caller, may_precede_start=early
        )
        await rooms.turns.run([Group(child_id, [turn_input])], lambda: None)
        assert caller.noted == [told]

    message = shard.start_message()
    child_id = message["execution_id"]
    start = convert(message, ExecuteMessage)
    caller = Noting()
    inputs = [
        TurnInput(child_id, CancelMessage(execution_id=child_id), caller),
        TurnInput(child_id, start, caller),
    ]
    await rooms.turns.run([Group(child_id, inputs)], lambda: None)

    assert caller.noted == [200, 200]
    assert (await shard.state(child_id))["status"] == "CANCELLED"
    await rooms.store.close()


async def test_a_restarted_parent_finds_the_child_that_had_completed(shard: Shard) -> None:
    await shard.open_replica()
    parent = await begin_parent(shard)
    done = await begin_child(shard, parent)
    for _ in range(2):
        command = await shard.command(done)
        await shard.send(done, shard.fast(command))
    event = shard.event(parent, "command.failed", attempts=0, context={"error": "lost"})
    await shard.send(parent.execution_id, event)

    again = await shard.start(PARENT, restart={"execution_id": parent.execution_id})
    await eventually(lambda: _has_commands(shard, again))
    command = await shard.command(again)
    found = await reserve(shard, command)
    repeated = await reserve(shard, command)
    other = await reserve(shard, command, payload={"another": 1})

    assert found == done
    assert other != done
    assert repeated != done, "each child is found once"


async def test_a_restarted_parent_finds_children_on_other_shards(shard: Shard) -> None:
    """They are the newest that completed, by what their own shards know."""
    await shard.open_replica()
    parent = await begin_parent(shard)
    far = sorted([await reserve(shard, parent) for _ in range(3)])
    event = shard.event(parent, "command.failed", attempts=0, context={"error": "lost"})
    await shard.send(parent.execution_id, event)
    again = await shard.start(PARENT, restart={"execution_id": parent.execution_id})
    await eventually(lambda: _has_commands(shard, again))
    command = await shard.command(again)
    asked: list[list[int]] = []

    async def first_two(execution_ids: Sequence[int]) -> list[int]:
        asked.append(sorted(execution_ids))
        return far[:2]

    async def nobody(_execution_ids: Sequence[int]) -> list[int]:
        raise Unavailable(what="the projector of shard 1")

    silent = await reserve(shard, command, find_completed=nobody)
    assert silent.status == 503
    assert await reserve(shard, command, find_completed=first_two) == far[1]
    assert await reserve(shard, command, find_completed=first_two) == far[0]
    assert await reserve(shard, command, find_completed=first_two) not in far
    assert asked == [far, [far[0], far[2]], [far[2]]]


async def _has_commands(shard: Shard, execution_id: int) -> bool:
    return bool(await shard.open_commands(execution_id))
