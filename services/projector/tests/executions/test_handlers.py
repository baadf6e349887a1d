"""Answers about executions come from the log."""

import asyncio

import pytest
from noetl_contract.commands import short_context
from noetl_contract.rpc.projector import (
    COMMAND_GET,
    EXECUTIONS_CANCELLED,
    EXECUTIONS_EVENTS,
    EXECUTIONS_EXISTS,
    EXECUTIONS_GET,
    EXECUTIONS_LIST,
    EXECUTIONS_ORIGIN,
    EXECUTIONS_STATUS,
    EXECUTIONS_TAIL,
    CommandName,
    DetailRequest,
    EventsPage,
    ExecutionName,
    ExecutionsPage,
    TailRequest,
)
from noetl_testkit.waiting import eventually

from services.projector.tests.conftest import AddLog, Ask, Pool

STARTED = {
    "event_type": "playbook_started",
    "node": "playbook",
    "context": {"workload": {"a": 1, "api_key": "k"}},
}
ISSUED = {"event_type": "command.issued", "node_type": "noop", "context": {"args": {}}}
DONE = {
    "event_type": "call.done",
    "result": {
        "status": "COMPLETED",
        "context": {"result": {"status": "success", "context": {"data": {"n": 1}}}},
    },
}
COMPLETED = {"event_type": "command.completed"}
ENDED = {"event_type": "playbook.completed", "node": "playbook"}
WHOLE = [STARTED, ISSUED, DONE, COMPLETED, ENDED]


async def test_status_has_the_keys_of_both_shapes(ask: Ask, add_log: AddLog) -> None:
    await add_log(1, WHOLE, status="COMPLETED")

    body = (await ask(EXECUTIONS_STATUS, ExecutionName(execution_id=1))).body

    assert body["status"] == "COMPLETED"
    assert body["completed"] is True
    assert body["failed"] is False
    assert body["completed_steps"] == ["start"]
    assert body["progress"]["total_steps"] == 2
    assert "error" not in body


async def test_progress_is_known_before_the_end(ask: Ask, add_log: AddLog) -> None:
    await add_log(1, [STARTED, ISSUED])

    detail = (await ask(EXECUTIONS_GET, DetailRequest(execution_id=1))).body

    assert (detail["status"], detail["progress"]) == ("RUNNING", 50)


async def test_a_status_is_of_one_moment(ask: Ask, add_log: AddLog, pool: Pool) -> None:
    await add_log(1, [STARTED, ISSUED])

    async with pool.acquire() as holder:

        async def is_held() -> bool:
            return bool(
                await holder.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_locks"
                    " WHERE NOT granted AND relation = 'noetl.execution_step'::REGCLASS)"
                )
            )

        async with holder.transaction():
            await holder.execute("LOCK TABLE noetl.execution_step")
            asked = asyncio.create_task(ask(EXECUTIONS_STATUS, ExecutionName(execution_id=1)))
            await eventually(is_held)
            await add_log(1, WHOLE, status="COMPLETED")
    body = (await asked).body

    assert (body["status"], body["completed_steps"]) == ("COMPLETED", ["start"])


async def test_a_paused_execution_says_so(ask: Ask, add_log: AddLog, pool: Pool) -> None:
    """An additional field, there only while it is paused."""
    for number in (1, 2):
        await add_log(number, [STARTED])
    await pool.execute(
        "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind)"
        " VALUES (7, 1, now() + interval '99 years', 'pause')"
    )
    name = ExecutionName(execution_id=1)
    status = (await ask(EXECUTIONS_STATUS, name)).body
    listed = (await ask(EXECUTIONS_LIST, ExecutionsPage())).body
    detail = (await ask(EXECUTIONS_GET, DetailRequest(execution_id=1))).body

    assert status["paused"] is True
    assert {one["execution_id"]: one.get("paused") for one in listed} == {1: True, 2: None}
    assert detail["paused"] is True
    assert "paused" not in (await ask(EXECUTIONS_STATUS, ExecutionName(execution_id=2))).body


async def test_a_failed_execution_says_completed_too(ask: Ask, add_log: AddLog) -> None:
    """The CLI shows RUNNING for every execution that isn't completed."""
    await add_log(1, [STARTED, {"event_type": "playbook.failed"}], status="FAILED")

    body = (await ask(EXECUTIONS_STATUS, ExecutionName(execution_id=1))).body

    assert (body["completed"], body["failed"]) == (True, True)


async def test_a_cancelled_execution_says_completed_and_failed(ask: Ask, add_log: AddLog) -> None:
    await add_log(1, [STARTED, {"event_type": "playbook_cancelled"}], status="CANCELLED")

    body = (await ask(EXECUTIONS_STATUS, ExecutionName(execution_id=1))).body

    assert (body["completed"], body["failed"], body["error"]) == (True, True, "cancelled")
    assert (await ask(EXECUTIONS_CANCELLED, ExecutionName(execution_id=1))).body[
        "cancelled"
    ] is True


async def test_unknown_execution_is_404_and_named(ask: Ask) -> None:
    for operation, request in (
        (EXECUTIONS_GET, DetailRequest(execution_id=99)),
        (EXECUTIONS_STATUS, ExecutionName(execution_id=99)),
        (EXECUTIONS_TAIL, TailRequest(execution_id=99)),
    ):
        reply = await ask(operation, request)

        assert (reply.status, reply.error) == (404, "Execution not found: 99")
    assert (await ask(EXECUTIONS_CANCELLED, ExecutionName(execution_id=99))).body[
        "is_cancelled"
    ] is False
    assert (await ask(EXECUTIONS_EXISTS, ExecutionName(execution_id=99))).body["exists"] is False


async def test_detail_is_ascending_masked_and_has_the_result(ask: Ask, add_log: AddLog) -> None:
    await add_log(1, WHOLE, status="COMPLETED")

    body = (await ask(EXECUTIONS_GET, DetailRequest(execution_id=1))).body

    assert [event["event_type"] for event in body["events"]] == [
        event["event_type"] for event in WHOLE
    ]
    assert body["workload"] == {"a": 1, "api_key": "[REDACTED]"}
    assert body["result"] == {"n": 1}
    assert body["completed_at"] is not None


async def test_a_kept_detail_is_that_of_the_log(ask: Ask, add_log: AddLog, pool: Pool) -> None:
    """An ended execution's answer is kept until something is appended."""
    await add_log(1, WHOLE, status="COMPLETED")
    wanted = DetailRequest(execution_id=1)
    whole = await ask(EXECUTIONS_GET, wanted)
    await pool.execute("UPDATE noetl.event SET node_name = 'x' WHERE execution_id = 1")
    kept = await ask(EXECUTIONS_GET, wanted)
    paged = await ask(EXECUTIONS_GET, wanted.model_copy(update={"page": 1}))
    contexts = await ask(EXECUTIONS_GET, wanted.model_copy(update={"has_command_contexts": True}))
    await pool.execute("UPDATE noetl.execution_state SET position = position + 1")
    moved = await ask(EXECUTIONS_GET, wanted)

    assert kept == whole
    for read in (paged, contexts, moved):
        assert {event["node_name"] for event in read.body["events"]} == {"x"}


async def test_a_passphrase_is_masked_wherever_it_stands(ask: Ask, add_log: AddLog) -> None:
    start = {"event_type": "playbook_started", "context": {"workload": {"passphrase": "sesame-1"}}}
    done = {"event_type": "call.done", "result": {"context": {"p": "is sesame-1"}}}
    await add_log(1, [start, done])

    body = (await ask(EXECUTIONS_GET, DetailRequest(execution_id=1))).body

    assert body["events"][1]["result"] == {"context": {"p": "is [REDACTED]"}}


async def test_detail_of_a_long_log_keeps_the_newest(ask: Ask, add_log: AddLog) -> None:
    await add_log(1, [STARTED, *[ISSUED] * 9, ENDED], status="COMPLETED")

    body = (await ask(EXECUTIONS_GET, DetailRequest(execution_id=1))).body

    assert [event["position"] for event in body["events"]] == [7, 8, 9, 10, 11]
    assert body["pagination"]["total_events"] == 11
    assert body["pagination"]["has_next"] is True


async def test_large_contexts_are_left_out_and_said_so(ask: Ask, add_log: AddLog) -> None:
    large = {"event_type": "command.issued", "context": {"text": "a b " * 500}}
    await add_log(1, [STARTED, large, large, ENDED], status="COMPLETED")

    asked = DetailRequest(execution_id=1, has_command_contexts=True)
    events = (await ask(EXECUTIONS_GET, asked)).body["events"]

    assert [event.get("truncated") for event in events] == [True, True, None, None]
    assert events[1]["context"] is None


async def test_a_detail_has_contexts_of_commands_only_when_asked(ask: Ask, add_log: AddLog) -> None:
    large = {"event_type": "command.issued", "context": {"text": "a b " * 100}}
    await add_log(1, [STARTED, large, ENDED], status="COMPLETED")

    async def contexts(request: DetailRequest) -> list[bool]:
        events = (await ask(EXECUTIONS_GET, request)).body["events"]
        assert not any("truncated" in event for event in events)
        return [event["context"] is not None for event in events]

    assert await contexts(DetailRequest(execution_id=1)) == [True, False, False]
    asked = DetailRequest(execution_id=1, has_command_contexts=True)
    assert await contexts(asked) == [True, True, False]
    assert (await ask(EXECUTIONS_EVENTS, EventsPage(execution_id=1, page=1, page_size=10))).body[
        "events"
    ][1]["context"] == large["context"]


async def test_bodies_that_do_not_come_at_once_are_read_in_pieces(
    ask: Ask, add_log: AddLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noetl_projector.executions.store._CHUNK", 300)
    rows = [
        {"event_type": "call.done", "context": {"n": n, "text": "x" * 200 * (n % 3)}}
        for n in range(30)
    ]
    await add_log(1, rows)

    page = EventsPage(execution_id=1, page=1, page_size=100)
    events = (await ask(EXECUTIONS_EVENTS, page)).body["events"]

    whole = [event["context"]["n"] for event in events if "truncated" not in event]
    assert whole == list(range(29, 29 - len(whole), -1))
    assert 10 < len(whole) < 30


async def test_pages_are_descending_and_filtered(ask: Ask, add_log: AddLog) -> None:
    await add_log(1, [STARTED, *[ISSUED] * 20, ENDED], status="COMPLETED")

    reply = await ask(
        EXECUTIONS_EVENTS,
        EventsPage(execution_id=1, page=2, page_size=10, event_type="command.issued"),
    )

    assert [event["position"] for event in reply.body["events"]] == list(range(11, 1, -1))
    assert reply.body["pagination"] == {
        "page": 2,
        "page_size": 10,
        "total_events": 20,
        "total_pages": 2,
        "has_next": False,
        "has_prev": True,
    }


async def test_a_page_has_the_events_of_one_step(ask: Ask, add_log: AddLog) -> None:
    other = {**ISSUED, "node": "other"}
    await add_log(1, [STARTED, ISSUED, other, ISSUED, other, ENDED], status="COMPLETED")

    page = EventsPage(execution_id=1, page=1, page_size=1, step="other")
    body = (await ask(EXECUTIONS_EVENTS, page)).body

    assert [event["position"] for event in body["events"]] == [5]
    assert body["pagination"]["total_events"] == 2


async def test_p4_tail_goes_by_position(ask: Ask, add_log: AddLog) -> None:
    low_id_last = [STARTED, {**ISSUED, "event_id": 5}, {**ENDED, "event_id": 2}]
    await add_log(1, low_id_last, status="COMPLETED")

    body = (
        await ask(EXECUTIONS_TAIL, TailRequest(execution_id=1, after_position=1, limit=10))
    ).body

    assert [event["event_id"] for event in body["events"]] == [5, 2]
    assert (body["position"], body["status"]) == (3, "COMPLETED")


async def test_p4_an_event_id_becomes_its_position(ask: Ask, add_log: AddLog) -> None:
    large = 383653235086344192
    rows = [STARTED, {**ISSUED, "event_id": large}, {**ENDED, "event_id": large - 4096}]
    await add_log(1, rows, status="COMPLETED")

    async def after(event_id: int) -> int:
        reply = await ask(EXECUTIONS_TAIL, TailRequest(execution_id=1, after_event_id=event_id))
        return int(reply.body["after_position"])

    assert await after(large) == 2
    assert await after(large - 4096) == 3
    assert await after(large + 60) == 1
    assert await after(large + 5000) == 3


async def test_list_filters_everything_newest_first(ask: Ask, add_log: AddLog) -> None:
    await add_log(1, [STARTED], path="tests/Alpha")
    await add_log(2, [STARTED, ENDED], path="tests/beta", status="COMPLETED")
    await add_log(3, [STARTED], path="tests/alphabet")

    listed = (await ask(EXECUTIONS_LIST, ExecutionsPage())).body
    alphas = (await ask(EXECUTIONS_LIST, ExecutionsPage(path="ALPHA"))).body
    completed = (await ask(EXECUTIONS_LIST, ExecutionsPage(status="COMPLETED"))).body

    assert [entry["execution_id"] for entry in listed] == [3, 2, 1]
    assert [entry["execution_id"] for entry in alphas] == [3, 1]
    assert [entry["execution_id"] for entry in completed] == [2]


async def test_s2_nothing_is_ordered_by_an_id(ask: Ask, add_log: AddLog, pool: Pool) -> None:
    """Ids come from clocks that may be wrong: start times order a list, positions a log."""
    low_id_last = [STARTED, {**ISSUED, "event_id": 5}, {**ENDED, "event_id": 2}]
    for execution_id in (1, 2, 3):
        await add_log(execution_id, low_id_last, status="COMPLETED")
    await pool.execute(
        "UPDATE noetl.execution_state SET started_at = now() - execution_id * interval '1 hour'"
    )

    listed = (await ask(EXECUTIONS_LIST, ExecutionsPage())).body
    page = (await ask(EXECUTIONS_EVENTS, EventsPage(execution_id=1, page=1, page_size=10))).body
    detail = (await ask(EXECUTIONS_GET, DetailRequest(execution_id=1))).body

    assert [entry["execution_id"] for entry in listed] == [1, 2, 3]
    assert [event["event_id"] for event in page["events"]] == [2, 5, 1001]
    assert [event["event_id"] for event in detail["events"]] == [1001, 5, 2]


async def test_exists_tells_the_size_of_a_looped_start(ask: Ask, add_log: AddLog) -> None:
    enter = {
        "event_type": "step.enter",
        "result": {"status": "ENTERED", "context": {"iterations_expected": 7}},
    }
    await add_log(1, [STARTED, enter, ISSUED])
    await add_log(2, [STARTED, ISSUED])

    assert (await ask(EXECUTIONS_EXISTS, ExecutionName(execution_id=1))).body[
        "commands_generated"
    ] == 7
    assert (await ask(EXECUTIONS_EXISTS, ExecutionName(execution_id=2))).body[
        "commands_generated"
    ] == 1


async def test_a_log_that_no_playbook_wrote_has_a_status_and_events(
    ask: Ask, add_log: AddLog, pool: Pool
) -> None:
    registered = {"event_type": "subscription.registered", "node": "subscriptions/orders"}
    await add_log(71, [registered, {"event_type": "subscription.activated"}])
    await pool.execute("DELETE FROM noetl.execution_state")

    status = (await ask(EXECUTIONS_STATUS, ExecutionName(execution_id=71))).body
    events = (await ask(EXECUTIONS_EVENTS, EventsPage(execution_id=71, page=1, page_size=10))).body
    detail = await ask(EXECUTIONS_GET, DetailRequest(execution_id=71))
    listed = (await ask(EXECUTIONS_LIST, ExecutionsPage())).body

    assert (status["status"], status["progress"]["total_steps"]) == ("RUNNING", 0)
    assert (events["path"], events["pagination"]["total_events"]) == ("subscriptions/orders", 2)
    assert detail.status == 404
    assert listed == []


async def test_a_command_is_read_from_the_log_when_its_row_is_gone(
    ask: Ask, add_log: AddLog
) -> None:
    await add_log(1, WHOLE)

    body = (await ask(COMMAND_GET, CommandName(event_id=1002))).body

    assert (body["execution_id"], body["node_name"], body["action"]) == (1, "start", "noop")


async def test_a_command_that_names_its_workload_is_read_whole(ask: Ask, add_log: AddLog) -> None:
    """Its row names the workload that counted then, which a restart may have changed."""
    workload = {"rows": [1, 2], "n": 3}
    flat = {**workload, "workload": workload, "row": 2}
    context = {"tool_config": {}, "args": {}, "render_context": {**flat, "ctx": flat}}
    short = short_context(context, workload, position=2)
    started = {"event_type": "playbook_started", "context": {"workload": {"rows": []}}}
    restored = {"event_type": "execution.restored", "context": {"workload": workload}}
    await add_log(1, [started, restored, {**ISSUED, "context": short}])

    body = (await ask(COMMAND_GET, CommandName(event_id=1003))).body

    assert body["context"] == context


async def test_origin_has_the_workload_as_it_was_sent(ask: Ask, add_log: AddLog) -> None:
    """Keychain references are rendered with it; masking is for clients."""
    await add_log(1, WHOLE, status="COMPLETED")

    origin = await ask(EXECUTIONS_ORIGIN, ExecutionName(execution_id=1))
    shown = (await ask(EXECUTIONS_GET, DetailRequest(execution_id=1))).body
    unknown = await ask(EXECUTIONS_ORIGIN, ExecutionName(execution_id=99))

    assert origin.body["workload"] == {"a": 1, "api_key": "k"}
    assert origin.body["catalog_id"] == int(shown["catalog_id"])
    assert shown["workload"]["api_key"] != "k"
    assert unknown.status == 404
