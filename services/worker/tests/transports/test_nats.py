"""The fast path against real NATS and a scripted orchestrator."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from message_worker import QUICK, REPEATING, StartWorker
from noetl_bus.topology import ensure_topology
from noetl_contract.ingress import REPLY_HEADER
from noetl_contract.rpc import RpcReply
from noetl_contract.streams import STREAMS, DurableSpec, ingress_durable, pool_durable
from noetl_contract.subjects import command_subject, ingress_subject
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker.metrics import FAST_PATH
from noetl_worker.transports.fast.timing import Timing
from noetl_worker.transports.hearing import Hearing
from worker_control_plane import (
    ControlPlane,
    control_plane,
    granted,
    make_command,
    make_notification,
)
from worker_edge import scripted_edge


def words(message: dict[str, Any]) -> list[str]:
    return [event["event_type"] for event in message["events"]]


async def all_acked(plane: ControlPlane) -> None:
    async def nothing_left() -> bool:
        durable = pool_durable("shared")
        info = await plane.bus.js.consumer_info(durable.stream, durable.name)
        return info.num_ack_pending == 0 and info.num_pending == 0

    await eventually(nothing_left, what="all notifications are acknowledged")


# -- the main path ------------------------------------------------------------------------


async def test_a_fresh_command_is_started_run_and_reported_without_a_claim(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    command = make_command("noop", config={"result": {"n": "{{ n }}"}}, variables={"n": 3})

    async with start_worker() as worker:
        await plane.notify(make_notification(1, command=command))
        outcome = await plane.outcome(1)
        await all_acked(plane)

    assert plane.of("start", 1) == []
    hold = {
        "event_id": 1,
        "command_id": "7:start:1",
        "step": "start",
        "attempts": 0,
        "worker_id": "w-1",
        "instance": worker.instance,
    }
    assert hold == outcome["hold"]
    assert words(outcome) == ["command.started", "call.done", "command.completed"]
    started, call, completed = outcome["events"]
    assert call["context"] == {
        "command_id": "7:start:1",
        "call_index": 0,
        "result": {"status": "success", "context": {"status": "success", "data": {"n": 3}}},
    }
    assert completed["context"] == {"command_id": "7:start:1", "status": "success"}
    assert [e["status"] for e in outcome["events"]] == ["STARTED", "COMPLETED", "success"]
    assert {"attempts": 0} == started["meta"] == call["meta"] == completed["meta"]
    assert {"w-1"} == {event["worker_id"] for event in outcome["events"]}
    assert [f"o:1:0:{worker.instance}"] == plane.message_ids
    assert plane.claims == []


async def test_a_run_that_takes_a_while_is_told_of(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with start_worker() as worker:
        await plane.notify(make_notification(1, command=make_command("gate")))
        await eventually(lambda: plane.of("start", 1), what="the start")
        await all_acked(plane)
        running = worker.gate.running
        worker.gate.open.set()
        outcome = await plane.outcome(1)

    assert running == 1
    (start,) = plane.of("start", 1)
    assert start["hold"] == outcome["hold"]
    assert start["events"] == outcome["events"][:1]
    assert words(start) == ["command.started"]
    assert ["s:1:0", f"o:1:0:{worker.instance}"] == plane.message_ids


async def test_a_raised_error_is_reported_as_a_failure(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with start_worker():
        await plane.notify(make_notification(1, command=make_command("nonsense")))
        outcome = await plane.outcome(1)

    _, call, failed = outcome["events"]
    assert words(outcome) == ["command.started", "call.error", "command.failed"]
    assert call["context"] == {
        "command_id": "7:start:1",
        "call_index": 0,
        "error": "Tool not found: nonsense",
    }
    assert failed["context"] == {"command_id": "7:start:1", "error": "Tool not found: nonsense"}
    assert [call["status"], failed["status"]] == ["FAILED", "FAILED"]


async def test_a_credential_is_asked_of_the_edge_over_messages_too(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    command = make_command("http", config={"url": "x", "auth": "pg"})

    with scripted_edge() as edge:
        async with start_worker():
            await plane.notify(make_notification(1, command=command, server_url=edge.url))
            outcome = await plane.outcome(1)

    assert [path.partition("?")[0] for _, path, _ in edge.calls] == ["/api/credentials/pg"]
    assert words(outcome) == ["command.started", "call.error", "command.failed"]
    error = outcome["events"][2]["context"]["error"]
    assert error.startswith("Credential alias 'pg' not found in keychain")


async def test_a_step_that_takes_too_long_fails(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    command = make_command(
        "python", config={"code": "while True: pass"}, meta={"timeout_seconds": 0.3}
    )

    async with start_worker():
        await plane.notify(make_notification(1, command=command))
        outcome = await plane.outcome(1)

    assert outcome["events"][2]["context"]["error"] == "Execution timed out after 0.3 seconds"


async def test_a_large_result_is_stored_before_it_is_reported(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    command = make_command(
        "python",
        config={"code": "result = {'big': 'x' * 200_000, 'a': {'b': [1, 2]}, 'password': 'p'}"},
        output_select=["a.b[1]", "missing", "big", "password"],
    )

    async with start_worker():
        await plane.notify(make_notification(1, command=command))
        outcome = await plane.outcome(1)

    ((_, stored),) = [call for call in plane.calls if call[0] == "result.put"]
    assert {"execution_id", "result_id", "name", "data", "scope", "source_step"} == set(stored)
    assert (
        stored["name"],
        stored["source_step"],
        stored["scope"],
    ) == ("start", "start", "execution")
    assert len(stored["data"]["data"]["big"]) == 200_000
    assert stored["data"]["data"]["password"] == "[REDACTED]"
    ref = "noetl://execution/7/result/start/1"
    assert {
        "status": "success",
        "context": {"data": {"_ref": ref, "b": 2, "password": "[REDACTED]"}},
        "reference": {
            "kind": "result_ref",
            "ref": ref,
            "store": "db",
            "scope": "execution",
            "meta": {
                "bytes": 5,
                "sha256": "00",
                "media_type": "application/json",
                "content_type": "application/json",
            },
        },
    } == outcome["events"][1]["context"]["result"]


async def test_a_result_that_could_not_be_stored_fails_its_step(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    plane.result_answer = lambda _request: RpcReply(status=500, error="no")
    command = make_command("python", config={"code": "result = 'x' * 200_000"})

    async with start_worker():
        await plane.notify(make_notification(1, command=command))
        outcome = await plane.outcome(1)

    assert [one["event_type"] for one in outcome["events"][1:]] == ["call.error", "command.failed"]
    error = outcome["events"][2]["context"]["error"]
    assert error.startswith("Result not stored: the result of step 'start' has 2000")
    assert error.endswith(" bytes and is lost: the result store answered 500: no")


async def test_a_result_is_stored_when_its_store_is_there_again(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    stored, asked = plane.result_answer, list[int]()

    def answer(request: dict[str, Any]) -> RpcReply | dict[str, Any]:
        asked.append(request["result_id"])
        return RpcReply(status=503, error="starting") if len(asked) < 3 else stored(request)

    plane.result_answer = answer
    command = make_command("python", config={"code": "result = 'x' * 200_000"})

    async with start_worker():
        await plane.notify(make_notification(1, command=command))
        outcome = await plane.outcome(1)

    assert [one["event_type"] for one in outcome["events"][1:]] == [
        "call.done",
        "command.completed",
    ]
    # Under one id, so that it is kept once.
    assert len(asked) == 3
    assert len(set(asked)) == 1


async def test_text_that_no_database_takes_is_replaced(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    command = make_command("python", config={"code": r"result = 'a\0b\\u0000'"})

    async with start_worker():
        await plane.notify(make_notification(1, command=command))
        result = await plane.result_of(1)

    assert result["data"] == "a\ufffdb\\u0000"


async def test_a_long_error_is_cut(plane: ControlPlane, start_worker: StartWorker) -> None:
    command = make_command("http", config={"url": 5, "method": "x" * 200_000})

    async with start_worker():
        command["context"]["tool_config"] = {"url": "http://x/", "method": "y" * 200_000}
        await plane.notify(make_notification(1, command=command))
        outcome = await plane.outcome(1)

    for event in outcome["events"][1:]:
        assert 65_000 < len(event["context"]["error"].encode()) < 66_000


async def test_no_more_is_pulled_than_permits_are_free(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with start_worker(permits=2) as worker:
        for event_id in range(1, 6):
            await plane.notify(make_notification(event_id, command=make_command("gate")))
        await eventually(lambda: worker.gate.running == 2, what="two run")
        info = await plane.bus.js.consumer_info("NOETL_COMMANDS", "noetl_worker_pool_shared")
        waiting = info.num_pending
        worker.gate.open.set()
        for event_id in range(1, 6):
            await plane.outcome(event_id)

    assert waiting == 3


# -- what is no command -------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"garbage",
        b"[]",
        b"{}",
        orjson.dumps(make_notification(1) | {"execution_id": "7"}),
        orjson.dumps(make_notification(1) | {"event_id": True}),
        orjson.dumps(make_notification(1) | {"step": None}),
        orjson.dumps(make_notification(1) | {"command_id": 1.5}),
    ],
)
async def test_a_message_that_is_no_notification_goes_to_the_dead_letters(
    plane: ControlPlane, start_worker: StartWorker, body: bytes
) -> None:
    async with start_worker():
        await plane.bus.publish(command_subject("shared", execution_id=7), body, message_id=None)
        await plane.notify(make_notification(2, command=make_command()))
        await plane.outcome(2)
        await all_acked(plane)
    info = await plane.bus.js.stream_info("noetl_dead")

    assert info.state.messages == 1


@pytest.mark.parametrize("fast", [None, {"v": 2, "shard": 0, "attempts": 0}])
async def test_a_command_of_another_protocol_is_left_to_the_other_transport(
    plane: ControlPlane, start_worker: StartWorker, fast: Any
) -> None:
    note = make_notification(1, command=make_command()) | {"fast": fast}

    async with start_worker() as worker:
        await plane.notify(note)
        await eventually(lambda: worker.other.handled, what="the other transport has it")

    assert [note] == [orjson.loads(data) for data in worker.other.handled]
    assert plane.messages == []


async def test_the_secret_of_a_command_is_shown_to_the_control_plane_and_to_nobody_else(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    """A template has the address, and puts it into the result in two spellings."""
    secret = "1.Zm9yZ2VkLWJ5LW5vYm9keQ"
    texts = {"address": "{{ server_url }}", "login": "{{ server_url | b64encode }}"}
    note = make_notification(1, command=make_command("noop", config={"result": texts}))
    note["server_url"] = f"http://7.1:{secret}@127.0.0.1:9"

    long = make_notification(2, command=make_command("gate")) | {"server_url": note["server_url"]}

    async with start_worker() as worker:
        await plane.notify(note)
        outcome = await plane.outcome(1)
        await plane.notify(long)
        await eventually(lambda: plane.of("start", 2), what="the start of a longer run")
        worker.gate.open.set()
        await plane.outcome(2)

    assert outcome["hold"]["fence"] == secret
    assert plane.of("start", 2)[0]["hold"]["fence"] == secret
    assert secret not in str(outcome["events"])
    told = outcome["events"][1]["context"]["result"]["context"]["data"]
    assert told["address"] == "http://[REDACTED]@127.0.0.1:9"


# -- claims -------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["no command inside", "too old", "delivered before"])
async def test_a_command_in_doubt_is_claimed(
    plane: ControlPlane, start_worker: StartWorker, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That it was stored before the connection would be doubt enough.
    monkeypatch.setattr(Hearing, "covers", lambda _hearing, _sequence: True)
    command = make_command("noop", config={"result": 5})
    note = make_notification(
        1,
        command=None if why == "no command inside" else command,
        seconds=-1.0 if why == "too old" else 30.0,
    )
    plane.claim_answer = lambda _request, _count: granted(note, command, attempts=2)
    await plane.notify(note)
    if why == "delivered before":
        subscription = await plane.bus.js.pull_subscribe(
            "noetl.commands.shared.>", durable="noetl_worker_pool_shared", stream="NOETL_COMMANDS"
        )
        (message,) = await subscription.fetch(1, timeout=PATIENCE_SECONDS)
        await message.nak()

    async with start_worker() as worker:
        outcome = await plane.outcome(1)
        await all_acked(plane)

    assert [
        {
            "execution_id": 7,
            "event_id": 1,
            "worker_id": "w-1",
            "instance": worker.instance,
            "known_workload": 0,
        }
    ] == plane.claims
    assert outcome["hold"]["attempts"] == 2
    assert outcome["events"][1]["meta"] == {"attempts": 2}
    # The token of those who did not claim is left alone.
    assert [f"s:1:2:{worker.instance}:1", f"o:1:2:{worker.instance}"] == plane.message_ids


async def test_a_refused_claim_is_forgotten(plane: ControlPlane, start_worker: StartWorker) -> None:
    async with start_worker():
        await plane.notify(make_notification(1))
        await eventually(lambda: plane.claims, what="it claims")
        await all_acked(plane)

    assert len(plane.claims) == 1
    assert plane.messages == []


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "retry"},
        RpcReply(status=503, error="busy"),
        RpcReply(status=500, error="broken"),
        {"status": "ok"},
    ],
    ids=["retry", "503", "500", "without a command"],
)
async def test_a_claim_is_asked_again_until_it_is_answered(
    plane: ControlPlane, start_worker: StartWorker, answer: Any
) -> None:
    note = make_notification(1)
    plane.claim_answer = lambda _request, count: (
        answer if count < 3 else granted(note, make_command())
    )

    async with start_worker():
        await plane.notify(note)
        await plane.outcome(1)

    assert len(plane.claims) == 3


async def test_an_unanswered_claim_is_given_back_later(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    plane.claim_answer = lambda _request, _count: RpcReply(status=503, error="busy")
    note = make_notification(1)

    async with start_worker() as worker:
        await plane.notify(note)
        await eventually(lambda: len(plane.claims) > 3, what="it asks")
        await eventually(lambda: 1 not in worker.transport._known, what="it gives up")
        plane.claim_answer = lambda _request, _count: granted(note, make_command())
        await plane.outcome(1)

    assert len(plane.of("outcome", 1)) == 1


# -- the fault table of 22.6 --------------------------------------------------------------


async def test_a_second_delivery_to_the_worker_that_runs_it_is_acknowledged(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    note = make_notification(1, command=make_command("gate"))

    async with start_worker() as worker:
        await plane.notify(note)
        await eventually(lambda: worker.gate.running == 1, what="it runs")
        await plane.notify(note)
        await all_acked(plane)
        worker.gate.open.set()
        await plane.outcome(1)
        await plane.notify(note)
        await all_acked(plane)

    assert worker.gate.runs == 1
    assert plane.claims == []


async def test_of_two_workers_with_one_command_one_goes_on(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    """A second durable delivers everything twice as a first delivery."""
    second = DurableSpec(
        stream="NOETL_COMMANDS",
        name="second",
        filter_subject="noetl.commands.shared.>",
        ack_wait=pool_durable("shared").ack_wait,
        max_deliver=10,
        max_ack_pending=100,
    )
    async with (
        start_worker(name="a", permits=20) as a,
        start_worker(name="b", permits=20, durable=second) as b,
    ):
        for event_id in range(1, 21):
            await plane.notify(make_notification(event_id, command=make_command("gate")))
        await eventually(
            lambda: len(plane.claims) == 20 and a.gate.running + b.gate.running == 20,
            what="who was second asks, and stops",
        )
        a.gate.open.set()
        b.gate.open.set()
        for event_id in range(1, 21):
            await plane.outcome(event_id)

    assert len(plane.claims) == 20
    assert len([one for one in plane.messages if one["type"] == "command.outcome"]) == 20
    assert {True} == {claim["after_start"] for claim in plane.claims}
    assert len([one for one in plane.messages if one["type"] == "command.start"]) == 20


async def test_after_its_start_a_command_is_not_given_away(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    note = make_notification(1, command=make_command("gate"))
    plane.claim_answer = lambda _request, count: (
        RpcReply(status=503, error="busy") if count < 30 else granted(note, make_command("gate"))
    )
    plane.validate = False
    await plane.bus.publish(
        ingress_subject(0, execution_id=7, kind="start"),
        orjson.dumps({"type": "command.start", "hold": {"event_id": 1}}),
        message_id="s:1:0",
        headers={REPLY_HEADER: "nobody"},
    )

    async with start_worker() as worker:
        await plane.notify(note)
        await eventually(lambda: len(plane.of("start", 1)) == 2, what="it is its own after all")
        worker.gate.open.set()
        await plane.outcome(1)

    # Longer than the time after which any other claim is given back, and delivered again.
    assert [claim["after_start"] for claim in plane.claims] == [True] * 30


async def test_a_run_that_another_worker_has_started_is_stopped(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    """Its start is in the stream already, and is not this worker's."""
    plane.validate = False
    plane.claim_answer = lambda _request, _count: RpcReply(status=409, error="taken")
    await plane.bus.publish(
        ingress_subject(0, execution_id=7, kind="start"),
        orjson.dumps({"type": "command.start", "hold": {"event_id": 1}}),
        message_id="s:1:0",
        headers={REPLY_HEADER: "nobody"},
    )

    async with start_worker() as worker:
        await plane.notify(make_notification(1, command=make_command("gate")))
        await eventually(lambda: worker.gate.killed == 1, what="the tool is stopped")
        await all_acked(plane)

    assert [claim["after_start"] for claim in plane.claims] == [True]
    assert plane.of("outcome", 1) == []


@pytest.mark.parametrize("attempts", [0, 1])
async def test_a_run_that_is_this_worker_s_own_after_all_goes_on(
    plane: ControlPlane, start_worker: StartWorker, attempts: int
) -> None:
    """Granted as another attempt, it begins once more."""
    note = make_notification(1, command=make_command("gate"))
    plane.validate = False
    plane.claim_answer = lambda _request, _count: granted(
        note, make_command("gate"), attempts=attempts
    )
    await plane.bus.publish(
        ingress_subject(0, execution_id=7, kind="start"),
        orjson.dumps({"type": "command.start", "hold": {"event_id": 1}}),
        message_id="s:1:0",
        headers={REPLY_HEADER: "nobody"},
    )

    async with start_worker() as worker:
        await plane.notify(note)
        await eventually(
            lambda: len(plane.of("start", 1)) == 2, what="the claimed run is confirmed"
        )
        await eventually(lambda: worker.gate.killed == attempts, what="the first run is over")
        worker.gate.open.set()
        outcome = await plane.outcome(1)
        await all_acked(plane)

    assert outcome["hold"]["attempts"] == attempts
    assert worker.gate.runs == 1 + attempts


async def test_an_unanswered_start_is_sent_again_under_another_id(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    plane.start_answer = lambda _message, count: {"status": "held"} if count == 3 else None

    async with start_worker(timing=REPEATING) as worker:
        await plane.notify(make_notification(1, command=make_command("gate")))
        await eventually(lambda: len(plane.of("start", 1)) == 3, what="three starts")
        worker.gate.open.set()
        await plane.outcome(1)

    prefix = f"s:1:0:{worker.instance}"
    assert ["s:1:0", f"{prefix}:1", f"{prefix}:2"] == plane.message_ids[:3]
    assert len({str(start["events"]) for start in plane.of("start", 1)}) == 1
    assert len(plane.of("start", 1)) == 3


@pytest.mark.parametrize("reason", ["taken", "finished", "cancelled"])
async def test_a_lost_command_is_killed_and_not_reported(
    plane: ControlPlane, start_worker: StartWorker, reason: str
) -> None:
    plane.start_answer = lambda _message, _count: {"status": "lost", "reason": reason}

    async with start_worker() as worker:
        await plane.notify(make_notification(1, command=make_command("gate")))
        await eventually(lambda: worker.gate.killed == 1, what="it is killed")
        plane.start_answer = lambda _message, _count: {"status": "held"}
        worker.gate.open.set()
        await plane.notify(make_notification(2, command=make_command("gate")))
        await plane.outcome(2)

    assert plane.of("outcome", 1) == []


async def test_a_lost_command_ends_its_script(
    plane: ControlPlane, start_worker: StartWorker, tmp_path: Path
) -> None:
    place = tmp_path / "pid"
    # Not lost before it runs.
    plane.start_answer = lambda _message, _count: {"status": "lost"} if place.exists() else None
    code = (
        f"import os\nopen({str(place) + '.new'!r}, 'w').write(str(os.getpid()))\n"
        f"os.rename({str(place) + '.new'!r}, {str(place)!r})\nwhile True: pass"
    )
    command = make_command("python", config={"code": code})

    async with start_worker(timing=REPEATING) as worker:
        await plane.notify(make_notification(1, command=command))
        await eventually(place.exists, what="it runs")
        pid = int(await asyncio.to_thread(place.read_text))
        await eventually(lambda: not psutil.pid_exists(pid), what="its process is gone")
        await eventually(lambda: 1 not in worker.transport._known, what="it is let go")

    assert plane.of("outcome", 1) == []


async def test_an_unanswered_outcome_is_sent_again_with_growing_pauses(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    plane.outcome_answer = lambda _message, count: {"status": "ok"} if count == 3 else None

    async with start_worker(timing=REPEATING) as worker:
        await plane.notify(make_notification(1, command=make_command()))
        await eventually(lambda: len(plane.of("outcome", 1)) == 3, what="three outcomes")
        await eventually(
            lambda: worker.transport._pending_outcomes.count == 0, what="it is answered"
        )

    base = f"o:1:0:{worker.instance}"
    outcome_ids = [one for one in plane.message_ids if one.startswith("o")]
    assert [base, f"{base}:1", f"{base}:2"] == outcome_ids
    assert len({str(outcome["events"]) for outcome in plane.of("outcome", 1)}) == 1


async def test_a_late_outcome_is_forgotten_and_its_command_may_come_back(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    """Another holder's command, until that one is gone, too."""
    plane.outcome_answer = lambda _message, _count: {"status": "late", "reason": "taken"}
    note = make_notification(1, command=make_command())

    async with start_worker() as worker:
        await plane.notify(note)
        await plane.outcome(1)
        await eventually(
            lambda: worker.transport._pending_outcomes.count == 0, what="it is forgotten"
        )
        plane.outcome_answer = lambda _message, _count: {"status": "ok"}
        plane.claim_answer = lambda _request, _count: granted(note, make_command(), attempts=2)
        await plane.notify(make_notification(1))
        await eventually(lambda: len(plane.of("outcome", 1)) == 2, what="it runs again")

    assert [one["hold"]["attempts"] for one in plane.of("outcome", 1)] == [0, 2]


async def test_nothing_is_pulled_while_too_many_outcomes_wait(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    answered = False
    plane.outcome_answer = lambda _message, _count: {"status": "ok"} if answered else None

    async with start_worker(timing=REPEATING, permits=1, most=2) as worker:
        for event_id in (1, 2, 3):
            await plane.notify(make_notification(event_id, command=make_command()))
        await plane.outcome(2)
        await eventually(lambda: len(plane.of("outcome", 1)) > 2, what="it repeats itself")
        before = plane.of("start", 3)
        answered = True
        await plane.outcome(3)
        await eventually(
            lambda: worker.transport._pending_outcomes.count == 0, what="all are answered"
        )

    assert before == []


async def test_a_missing_orchestrator_delays_no_other_command(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    """Starts and outcomes wait in the stream; the tool does not wait for an answer."""
    plane.start_answer = plane.outcome_answer = lambda _message, _count: None

    async with start_worker(timing=Timing()) as worker:
        await plane.notify(make_notification(1, command=make_command()))
        await plane.outcome(1)
        await eventually(lambda: 1 in worker.transport._known, what="it is remembered")

    assert [f"o:1:0:{worker.instance}"] == plane.message_ids


async def test_a_broker_restart_loses_nothing(
    own_nats: NatsServer, start_worker: StartWorker
) -> None:
    async with (
        control_plane(own_nats.url) as plane,
        start_worker(timing=REPEATING, url=own_nats.url) as worker,
    ):
        for event_id in range(1, 5):
            await plane.notify(make_notification(event_id, command=make_command("gate")))
        await eventually(lambda: worker.gate.running == 4, what="all run")
        # A start that was stored without an acknowledgement would be claimed, and its run lost.
        await all_acked(plane)
        await asyncio.to_thread(own_nats.kill)
        worker.gate.open.set()
        await eventually(lambda: worker.gate.running == 0, what="all have run")
        await asyncio.to_thread(own_nats.start)
        for event_id in range(1, 5):
            await plane.outcome(event_id)
        await eventually(
            lambda: worker.transport._pending_outcomes.count == 0, what="all are answered"
        )

    assert worker.gate.runs == 4


async def test_a_wiped_store_gets_its_outcomes_again(
    own_nats: NatsServer, start_worker: StartWorker
) -> None:
    """An outcome that was stored and not answered is gone with the store: it is sent again."""
    async with (
        control_plane(own_nats.url) as plane,
        start_worker(timing=REPEATING, url=own_nats.url) as worker,
    ):
        plane.outcome_answer = lambda _message, _count: None
        await plane.notify(make_notification(1, command=make_command()))
        await plane.outcome(1)
        await asyncio.to_thread(own_nats.wipe)
        await ensure_topology(plane.bus, STREAMS, (ingress_durable(0), pool_durable("shared")))
        before = len(plane.of("outcome", 1))
        plane.outcome_answer = lambda _message, _count: {"status": "ok"}
        await eventually(lambda: len(plane.of("outcome", 1)) > before, what="again")
        await eventually(
            lambda: worker.transport._pending_outcomes.count == 0, what="it is answered"
        )


async def test_a_run_whose_start_is_not_stored_is_told_of_by_its_outcome(
    own_nats: NatsServer, start_worker: StartWorker
) -> None:
    tried = FAST_PATH.labels("started")
    before = tried._value.get()
    async with (
        control_plane(own_nats.url) as plane,
        start_worker(url=own_nats.url, timing=replace(QUICK, start_try_seconds=0.1)) as worker,
    ):
        js = plane.bus.js
        info = await js.stream_info("noetl_ingress")
        config = info.config
        config.max_msgs = 1
        await js.update_stream(config)
        # Full: the one message it holds was never handled.
        blocker = await plane.bus.publish("noetl_ingress.9.1", b"{}", message_id=None)
        await plane.notify(make_notification(1, command=make_command("gate")))
        await eventually(lambda: worker.gate.running == 1, what="it runs")
        await eventually(lambda: tried._value.get() > before, what="its start is tried")
        config.max_msgs = -1
        await js.update_stream(config)
        await js.delete_msg("noetl_ingress", blocker.sequence)
        worker.gate.open.set()
        outcome = await plane.outcome(1)

    assert words(outcome) == ["command.started", "call.done", "command.completed"]
    assert plane.claims == []


async def test_draining_lets_running_tools_report(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with start_worker(drain_seconds=PATIENCE_SECONDS) as worker:
        await plane.notify(make_notification(1, command=make_command("gate")))
        await eventually(lambda: worker.gate.running == 1, what="it runs")
        asyncio.get_running_loop().call_later(0.3, worker.gate.open.set)

    await plane.outcome(1)  # it is stored by now, and its reader comes to it
    assert len(plane.of("outcome", 1)) == 1
    assert worker.gate.killed == 0


async def test_a_drain_that_takes_too_long_kills(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with start_worker(drain_seconds=0.2) as worker:
        await plane.notify(make_notification(1, command=make_command("gate")))
        await eventually(lambda: worker.gate.running == 1, what="it runs")

    assert worker.gate.killed == 1
    assert plane.of("outcome", 1) == []


@pytest.mark.parametrize("levels", [101, 300, 1000])
async def test_a_result_too_deep_to_be_read_fails_its_step(
    plane: ControlPlane, start_worker: StartWorker, levels: int
) -> None:
    code = f"result = 1\nfor _ in range({levels}): result = [result]"
    command = make_command("python", config={"code": code})

    async with start_worker():
        await plane.notify(make_notification(1, command=command))
        outcome = await plane.outcome(1)

    assert outcome["events"][-1]["event_type"] == "command.failed"
    assert "levels deep" in outcome["events"][-1]["context"]["error"]


async def test_an_outcome_that_is_refused_for_good_is_replaced_by_a_failure(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    def answer(message: dict[str, Any], _count: int) -> dict[str, Any]:
        failed = message["events"][-1]["event_type"] == "command.failed"
        return {"status": "ok"} if failed else {"status": 422, "error": "it can't be read"}

    plane.outcome_answer = answer

    async with start_worker() as worker:
        await plane.notify(make_notification(1, command=make_command()))
        await eventually(lambda: len(plane.of("outcome", 1)) == 2, what="the failure")
        await eventually(
            lambda: worker.transport._pending_outcomes.count == 0, what="it is answered"
        )

    assert len(set(plane.message_ids)) == len(plane.message_ids)
    assert "refused the result" in plane.of("outcome", 1)[1]["events"][-1]["context"]["error"]


async def test_refusing_even_the_failure_ends_the_matter(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    plane.outcome_answer = lambda _message, _count: {"status": 422, "error": "no"}

    async with start_worker() as worker:
        await plane.notify(make_notification(1, command=make_command()))
        await eventually(lambda: len(plane.of("outcome", 1)) == 2, what="the failure")
        await eventually(
            lambda: worker.transport._pending_outcomes.count == 0, what="it is dropped"
        )
