"""Outcomes that are requested of their owners, and the commands that come with the answers."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from message_worker import QUICK, REPEATING, StartWorker, Worker
from noetl_bus.errors import BusUnavailable
from noetl_bus.inbox import Incoming
from noetl_bus.writes.write import Write
from noetl_contract.ingress import AGAIN_HEADER, NEXT_HEADER
from noetl_testkit.waiting import eventually
from noetl_worker.transports.fast.timing import Timing
from request_listener import Answer, Listener, deliver, listening, unacked, until_unacked
from worker_control_plane import (
    ControlPlane,
    granted,
    make_command,
    make_notification,
)


def note(event_id: int, kind: str = "noop") -> dict[str, Any]:
    return make_notification(event_id, command=make_command(kind))


def chain_of(last: int, kind: str = "noop") -> Answer:
    """Answer every outcome with the next command, up to a last one."""

    def answer(message: dict[str, Any], incoming: Incoming) -> dict[str, Any]:
        event_id = message["hold"]["event_id"]
        has_next = NEXT_HEADER in incoming.headers and event_id < last
        return {"status": "ok", "next": note(event_id + 1, kind)} if has_next else {"status": "ok"}

    return answer


@pytest.mark.usefixtures("patient_requests")
async def test_commands_follow_with_the_answers(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with (
        listening(plane, chain_of(5)) as listener,
        start_worker(timing=Timing(next_seconds=60)),
    ):
        await plane.notify(note(1))
        await eventually(lambda: len(listener.heard) == 5, what="all have run")
        await until_unacked(plane, 0, what="all are acknowledged")

    assert listener.commands == [1, 2, 3, 4, 5]
    assert listener.wishes == [True] * 5
    assert plane.messages == []


@pytest.mark.usefixtures("patient_requests")
async def test_commands_follow_with_the_answers_to_what_is_stored_first(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    """With ``NOETL_INGRESS=stream`` nothing is requested."""
    last = 4

    def answer(message: dict[str, Any], _count: int) -> dict[str, Any]:
        event_id = message["hold"]["event_id"]
        has_next = NEXT_HEADER in plane.headers[-1] and event_id < last
        return {"status": "ok", "next": note(event_id + 1)} if has_next else {"status": "ok"}

    plane.outcome_answer = answer
    async with (
        listening(plane, chain_of(last)) as listener,
        start_worker(timing=Timing(next_seconds=60), is_direct=False),
    ):
        await plane.notify(note(1))
        await plane.outcome(last)
        await until_unacked(plane, 0, what="all are acknowledged")

    assert listener.heard == []
    assert [one["hold"]["event_id"] for one in plane.messages] == [1, 2, 3, 4]
    assert all(AGAIN_HEADER not in headers for headers in plane.headers)


async def test_an_answer_to_what_is_stored_may_come_later(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    """The slot is free by then, so the command that comes with it is let go."""
    plane.outcome_answer = lambda _message, count: {"status": "ok"} if count > 1 else None
    async with start_worker(timing=REPEATING, is_direct=False) as worker:
        await plane.notify(note(1))
        await plane.outcome(1)
        await until_unacked(plane, 0, what="the slot is free")
        first = Incoming("", b"", dict(plane.headers[0]))
        deliver(worker, first, {"status": "ok", "next": note(2)})
        await eventually(lambda: len(plane.of("outcome", 1)) > 1, what="it comes again")

    assert plane.of("outcome", 2) == []


async def test_a_slot_takes_its_turn_in_the_queue_after_a_while(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with (
        listening(plane, chain_of(10)) as listener,
        start_worker(timing=Timing(next_seconds=0)),
    ):
        await plane.notify(note(1))
        await eventually(lambda: listener.heard, what="it has run")

    assert listener.wishes == [False]


async def test_where_nobody_listens_it_goes_into_the_stream_at_once(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with start_worker():
        await plane.notify(note(1))
        await plane.outcome(1)

    assert len(plane.messages) == 1


@pytest.mark.usefixtures("open_breaker")
async def test_what_is_not_answered_goes_into_the_stream_as_a_repetition(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with listening(plane, lambda _message, _incoming: None) as listener, start_worker():
        await plane.notify(note(1))
        await plane.outcome(1)
        await plane.notify(note(2))
        await plane.outcome(2)

    assert listener.commands == [1], "for a while nothing else is requested"
    assert plane.headers[0][AGAIN_HEADER] == "1"
    assert AGAIN_HEADER not in plane.headers[1]


@pytest.mark.usefixtures("patient_requests")
async def test_a_notification_is_acknowledged_after_the_answer(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    def answer(_message: dict[str, Any], incoming: Incoming) -> None:
        waiting.append(incoming)

    waiting: list[Incoming] = []
    async with listening(plane, answer) as listener, start_worker():
        await plane.notify(note(1))
        await eventually(lambda: waiting, what="the outcome is there")
        before = await unacked(plane)
        listener.reply(waiting[0], {"status": "ok"})
        await until_unacked(plane, 0, what="it is acknowledged")

    assert before == 1
    assert plane.messages == []


async def test_a_command_that_comes_too_late_is_let_go(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    """Its outcome goes out again, by whose answer the control plane lets others have it."""
    plane.outcome_answer = lambda _message, count: {"status": "ok"} if count > 1 else None
    async with (
        listening(plane, lambda _message, _incoming: None) as listener,
        start_worker(timing=REPEATING),
    ):
        await plane.notify(note(1))
        await plane.outcome(1)
        await until_unacked(plane, 0, what="the slot is free")
        listener.reply(listener.heard[0], {"status": "ok", "next": note(2)})
        await eventually(lambda: len(plane.of("outcome", 1)) > 1, what="it comes again")

    assert plane.of("outcome", 2) == []
    assert [one.get(AGAIN_HEADER) for one in plane.headers] == ["1"] * len(plane.headers)


async def test_what_comes_while_the_stream_is_tried_is_let_go(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    """The copy in the stream lets others have the command, so it must not run here too."""
    async with (
        listening(plane, lambda _message, _incoming: None) as listener,
        start_worker(timing=Timing(next_seconds=60, look_seconds=0.02)) as worker,
    ):
        publish, may_publish = worker.bus.publish, asyncio.Event()
        tried = asyncio.Event()

        async def publish_later(*args: Any, **kwargs: Any) -> Any:
            tried.set()
            await may_publish.wait()
            return await publish(*args, **kwargs)

        worker.bus.publish = publish_later  # type: ignore[method-assign]
        await plane.notify(note(1))
        await eventually(tried.is_set, what="it is to go into the stream")
        listener.reply(listener.heard[0], {"status": "ok", "next": note(2)})
        await plane.outcome(1)
        may_publish.set()
        await eventually(lambda: len(plane.of("outcome", 1)) > 1, what="it comes again")
        await until_unacked(plane, 0, what="the slot is free")

    assert plane.of("outcome", 2) == []


def hears_at_the_limit(
    monkeypatch: pytest.MonkeyPatch, worker: Worker, listener: Listener, body: dict[str, Any]
) -> None:
    """Let the answer to the first outcome be read in the moment in which its time is up."""
    give_up = Write._give_up

    def give_up_and_hear(write: Write) -> None:
        give_up(write)
        monkeypatch.setattr(Write, "_give_up", give_up)
        deliver(worker, listener.heard[0], body)

    monkeypatch.setattr(Write, "_give_up", give_up_and_hear)


async def test_a_command_that_comes_as_the_time_is_up_is_let_go(
    plane: ControlPlane, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome goes out again and lets others have it, so it must not run here too."""
    async with (
        listening(plane, lambda _message, _incoming: None) as listener,
        start_worker(timing=Timing(next_seconds=60)) as worker,
    ):
        hears_at_the_limit(monkeypatch, worker, listener, {"status": "ok", "next": note(2)})
        await plane.notify(note(1))
        await plane.outcome(1)
        await until_unacked(plane, 0, what="the slot is free")

    assert [one[AGAIN_HEADER] for one in plane.headers][:1] == ["1"]
    assert listener.commands == [1]
    assert plane.of("outcome", 2) == []


async def test_what_is_answered_as_the_time_is_up_is_not_sent_again(
    plane: ControlPlane, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        listening(plane, lambda _message, _incoming: None) as listener,
        start_worker(timing=Timing(next_seconds=60)) as worker,
    ):
        hears_at_the_limit(monkeypatch, worker, listener, {"status": "ok"})
        await plane.notify(note(1))
        await eventually(lambda: listener.heard, what="it has run")
        await until_unacked(plane, 0, what="the slot is free")

    assert plane.messages == []


@pytest.mark.usefixtures("patient_requests")
async def test_a_command_is_taken_although_sending_fails_after_its_answer(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    """As when the connection breaks while the outcome is written, and is there again."""
    async with (
        listening(plane, chain_of(2)) as listener,
        start_worker(timing=Timing(next_seconds=60)) as worker,
    ):
        send = worker.bus.send

        async def send_and_fail(subject: str, body: bytes, *args: Any, **kwargs: Any) -> None:
            await send(subject, body, *args, **kwargs)
            if subject.startswith("noetl_write"):
                await eventually(lambda: listener.heard, what="the outcome is there")
                deliver(worker, listener.heard[0], {"status": "ok", "next": note(2)})
                worker.bus.send = send  # type: ignore[method-assign]
                raise BusUnavailable(what=subject, reason="the connection broke")

        worker.bus.send = send_and_fail  # type: ignore[method-assign]
        listener.answer = lambda message, _incoming: (
            None if message["hold"]["event_id"] == 1 else {"status": "ok"}
        )
        await plane.notify(note(1))
        await eventually(lambda: listener.commands == [1, 2], what="the next one has run")
        await until_unacked(plane, 0, what="the slot is free")

    assert plane.of("outcome", 1) == []


async def test_of_an_answer_that_comes_twice_the_command_waits_for_its_slot(
    plane: ControlPlane, start_worker: StartWorker, patient_requests: Callable[[], None]
) -> None:
    async with (
        listening(plane, lambda _message, _incoming: None) as listener,
        start_worker(permits=1, timing=Timing(next_seconds=60, next_wait_seconds=60)) as worker,
    ):
        await plane.notify(note(1))
        await eventually(lambda: listener.heard, what="the first has run")
        await plane.notify(note(2, "gate"))
        await eventually(lambda: worker.gate.running, what="the second has the slot")
        deliver(worker, listener.heard[0], {"status": "ok", "next": note(3, "gate")})
        deliver(worker, listener.heard[0], {"status": "ok"})
        patient_requests()
        await worker.transport.heartbeat()  # time enough for a second run, if a slot were free
        assert worker.gate.running == 1
        worker.gate.open.set()
        await eventually(lambda: worker.gate.runs == 2, what="it has its turn")
        await plane.outcome(3)

    assert plane.of("outcome", 1) == []


@pytest.mark.usefixtures("patient_requests")
@pytest.mark.parametrize("is_granted", [False, True])
async def test_a_command_that_others_may_have_by_now_is_claimed(
    plane: ControlPlane, start_worker: StartWorker, *, is_granted: bool
) -> None:
    overdue = make_notification(2, command=make_command(), seconds=-1)
    if is_granted:
        plane.claim_answer = lambda _request, _count: granted(overdue, make_command(), attempts=0)
    answers = iter([{"status": "ok", "next": overdue}, {"status": "ok"}])
    async with (
        listening(plane, lambda _message, _incoming: next(answers)) as listener,
        start_worker(timing=QUICK),
    ):
        await plane.notify(note(1))

        async def is_over() -> bool:
            return len(listener.heard) == 1 + is_granted and await unacked(plane) == 0

        await eventually(lambda: plane.claims, what="it asks first")
        await eventually(is_over, what="the slot is free")

    assert listener.commands == [1, 2][: 1 + is_granted]
    assert [one["event_id"] for one in plane.claims] == [2]


@pytest.mark.usefixtures("patient_requests")
@pytest.mark.parametrize("ahead", [40, -40])
async def test_the_age_of_a_command_is_told_by_the_clock_of_the_broker(
    plane: ControlPlane, start_worker: StartWorker, *, ahead: int
) -> None:
    """The worker's own may be wrong: here it is ahead of the others, or behind them."""

    def seen_there(event_id: int, seconds: float) -> dict[str, Any]:
        return make_notification(event_id, command=make_command(), seconds=seconds - ahead)

    answers = iter([{"status": "ok", "next": seen_there(2, 30)}, {"status": "ok"}])
    async with (
        listening(plane, lambda _message, _incoming: next(answers)) as listener,
        start_worker(timing=QUICK) as worker,
    ):
        clock = worker.hearing.clock
        clock.set(datetime.now(UTC) - timedelta(seconds=ahead), asked_at=clock.reading())
        await plane.notify(seen_there(1, 30))
        await eventually(lambda: listener.commands == [1, 2], what="both have run")
        assert plane.claims == []
        await plane.notify(seen_there(3, -1))
        await eventually(lambda: plane.claims, what="the overdue one is claimed")

    assert [one["event_id"] for one in plane.claims] == [3]


@pytest.mark.parametrize("is_asked_before", [False, True])
async def test_a_worker_that_was_told_to_stop_takes_no_more_commands(
    plane: ControlPlane, start_worker: StartWorker, *, is_asked_before: bool
) -> None:
    def answer(_message: dict[str, Any], incoming: Incoming) -> None:
        waiting.append(incoming)

    waiting: list[Incoming] = []
    stopping = asyncio.Event()

    async def work() -> None:
        async with start_worker(timing=Timing(next_seconds=60, look_seconds=0.02)) as worker:
            await plane.notify(note(1, "noop" if is_asked_before else "gate"))
            await eventually(lambda: waiting or worker.gate.running, what="it runs")
            asyncio.get_running_loop().call_soon(worker.gate.open.set)
            stopping.set()

    async with listening(plane, answer) as listener:
        working = asyncio.create_task(work())
        await stopping.wait()
        await eventually(lambda: waiting, what="its outcome")
        listener.reply(waiting[0], {"status": "ok", "next": note(2)})
        await plane.outcome(1)
        await working

    assert listener.wishes == [is_asked_before]
    assert listener.commands == [1]
    assert plane.of("outcome", 2) == []


async def test_where_rights_forbid_requests_none_is_sent(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with listening(plane, chain_of(0)) as listener, start_worker() as worker:
        worker.bus.forbidden.add("noetl_write.outcome")
        await plane.notify(note(1))
        await plane.outcome(1)

    assert listener.heard == []
    # Its slot doesn't wait for the answer, so no command may come with it.
    assert NEXT_HEADER not in plane.headers[0]


@pytest.mark.usefixtures("patient_requests")
async def test_a_start_of_a_command_that_followed_is_told(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    def answer(message: dict[str, Any], _incoming: Incoming) -> dict[str, Any]:
        is_first = message["hold"]["event_id"] == 1
        return {"status": "ok", "next": note(2, "gate")} if is_first else {"status": "ok"}

    async with listening(plane, answer) as listener, start_worker() as worker:
        await plane.notify(note(1))
        await eventually(lambda: plane.of("start", 2), what="its start")
        worker.gate.open.set()
        await eventually(lambda: listener.commands == [1, 2], what="its outcome")

    (start,) = plane.of("start", 2)
    assert start["hold"]["attempts"] == 0


@pytest.mark.usefixtures("patient_requests")
async def test_nonsense_in_place_of_a_command_ends_nothing(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    wrong: list[Any] = ["text", 7, [], {"event_id": "x"}, {**note(9), "fast": None}]

    def answer(message: dict[str, Any], _incoming: Incoming) -> dict[str, Any]:
        return {"status": "ok", "next": wrong[message["hold"]["event_id"] - 1]}

    async with listening(plane, answer) as listener, start_worker():
        for number in range(len(wrong)):
            await plane.notify(note(number + 1))
            await eventually(lambda: len(listener.heard) > number, what="it has run")  # noqa: B023
        await until_unacked(plane, 0, what="all are acknowledged")

    assert listener.commands == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("patient_requests")
async def test_a_slot_is_free_before_its_answer_has_come(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    def answer(_message: dict[str, Any], incoming: Incoming) -> None:
        waiting.append(incoming)

    waiting: list[Incoming] = []
    async with (
        listening(plane, answer) as listener,
        start_worker(permits=1),
    ):
        for event_id in (1, 2, 3):
            await plane.notify(note(event_id))
        await eventually(lambda: len(waiting) == 3, what="all have run")
        for incoming in waiting:
            listener.reply(incoming, {"status": "ok"})
        await until_unacked(plane, 0, what="all are acknowledged")

    assert listener.wishes == [True] * 3
    assert plane.messages == []


@pytest.mark.usefixtures("patient_requests")
async def test_so_many_commands_are_waited_for_at_once(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    def answer(_message: dict[str, Any], incoming: Incoming) -> None:
        waiting.append(incoming)

    waiting: list[Incoming] = []
    async with (
        listening(plane, answer) as listener,
        start_worker(timing=Timing(next_at_once=2)),
    ):
        for event_id in (1, 2, 3):
            await plane.notify(note(event_id))
            await eventually(lambda: len(waiting) == event_id, what="it has run")  # noqa: B023
        listener.reply(waiting[0], {"status": "ok"})
        await until_unacked(plane, 2, what="one is answered")
        await plane.notify(note(4))
        await eventually(lambda: len(waiting) == 4, what="the last one has run")
        for incoming in waiting[1:]:
            listener.reply(incoming, {"status": "ok"})
        await until_unacked(plane, 0, what="all are answered")

    assert listener.wishes == [True, True, False, True]


@pytest.mark.usefixtures("patient_requests")
@pytest.mark.parametrize("is_late", [False, True])
async def test_a_command_that_comes_while_no_slot_is_free_waits_a_moment(
    plane: ControlPlane, start_worker: StartWorker, *, is_late: bool
) -> None:
    def answer(_message: dict[str, Any], incoming: Incoming) -> None:
        waiting.append(incoming)

    waiting: list[Incoming] = []
    seconds = 0.01 if is_late else 60
    async with (
        listening(plane, answer) as listener,
        start_worker(
            permits=1, timing=Timing(next_wait_seconds=seconds, look_seconds=0.02)
        ) as worker,
    ):
        await plane.notify(note(1))
        await eventually(lambda: len(waiting) == 1, what="the first has run")
        await plane.notify(note(2, "gate"))
        await eventually(lambda: worker.gate.running, what="the second has the slot")
        listener.reply(waiting[0], {"status": "ok", "next": note(3)})
        if is_late:
            await plane.outcome(1)
            assert listener.commands == [1]
        worker.gate.open.set()
        await eventually(lambda: len(waiting) == 2 + (not is_late), what="what has the slot ends")
        for incoming in waiting[1:]:
            listener.reply(incoming, {"status": "ok"})
        await until_unacked(plane, 0, what="all are acknowledged")

    if is_late:
        assert listener.commands == [1, 2]
        assert [one.get(AGAIN_HEADER) for one in plane.headers] == [None, "1"], "a start and it"
    else:
        assert listener.commands == [1, 2, 3]
        assert plane.of("outcome", 1) == []


async def test_outcomes_that_nobody_stores_hold_their_slots_beyond_the_bound(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    waiting: list[int] = []
    most = 0
    may_publish = asyncio.Event()

    async with start_worker(permits=1, most=2) as worker:
        publish = worker.bus.publish

        async def publish_later(*args: Any, **kwargs: Any) -> Any:
            nonlocal most
            waiting.append(1)
            most = max(most, len(waiting))
            await may_publish.wait()
            waiting.pop()
            return await publish(*args, **kwargs)

        worker.bus.publish = publish_later  # type: ignore[method-assign]
        for event_id in range(1, 6):
            await plane.notify(note(event_id))
        await eventually(lambda: len(waiting) == 2, what="two wait, as many as may")
        await worker.transport.heartbeat()  # time enough for a third, if a slot were free
        may_publish.set()
        await plane.outcome(5)

    assert most == 2
