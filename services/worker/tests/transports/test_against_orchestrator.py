"""Two workers, a second durable, and an orchestrator that loses and repeats what it can.

The rules of the orchestrator are those of the fast path in their smallest form.
Exactly one outcome of each command must count, and each command must run once.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from message_worker import REPEATING, StartWorker
from noetl_contract.rpc import RpcReply
from noetl_contract.streams import DurableSpec, pool_durable
from noetl_testkit.waiting import eventually
from worker_control_plane import ControlPlane, granted, make_command, make_notification

COMMANDS = 40


@dataclass
class Row:
    holder: tuple[str, str, int] | None = None
    finished: tuple[str, str, int] | None = None
    effects: list[tuple[str, str, int]] = field(default_factory=list)


class Orchestrator:
    def __init__(self, seed: int, notes: dict[int, dict[str, Any]]) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.rows = {event_id: Row() for event_id in notes}
        self.notes = notes
        self.asked: dict[int, int] = {}

    def _fits(self, row: Row, sender: tuple[str, str, int]) -> bool:
        if row.finished is not None:
            return False
        if row.holder is None and sender[2] == 0:
            row.holder = sender
        return row.holder == sender

    def start(self, message: dict[str, Any], _count: int) -> dict[str, Any] | None:
        hold = message["hold"]
        row, sender = self.rows[hold["event_id"]], _sender(hold)
        held = self._fits(row, sender) or row.finished == sender
        answer = {"status": "held"} if held else {"status": "lost", "reason": "taken"}
        return None if self.random.random() < 0.4 else answer

    def outcome(self, message: dict[str, Any], _count: int) -> dict[str, Any] | None:
        hold = message["hold"]
        row, sender = self.rows[hold["event_id"]], _sender(hold)
        if self._fits(row, sender):
            row.finished = sender
            row.effects.append(sender)
        answer = {"status": "ok"} if row.finished == sender else {"status": "late"}
        return None if self.random.random() < 0.4 else answer

    def claim(self, request: dict[str, Any], _count: int) -> RpcReply | dict[str, Any]:
        event_id = request["event_id"]
        row = self.rows[event_id]
        worker = (request["worker_id"], request["instance"])
        if self.random.random() < 0.3:
            return RpcReply(status=503, error="busy")
        if row.finished is not None:
            return RpcReply(status=409, error="done")
        if row.holder is None:
            self.asked[event_id] = self.asked.get(event_id, 0) + 1
            if request.get("after_start") and self.asked[event_id] < 20:
                return {"status": "retry"}
            row.holder = (*worker, 0)
        if row.holder[:2] != worker:
            return RpcReply(status=409, error="taken")
        return granted(self.notes[event_id], make_command("gate"), attempts=row.holder[2])


def _sender(hold: dict[str, Any]) -> tuple[str, str, int]:
    return hold["worker_id"], hold["instance"], hold["attempts"]


@pytest.mark.parametrize("seed", range(3))
async def test_exactly_one_outcome_of_each_command_counts(
    plane: ControlPlane, start_worker: StartWorker, *, seed: int
) -> None:
    """Both workers get every command, some twice."""
    choose = random.Random(seed)  # noqa: S311
    second = DurableSpec(
        stream="NOETL_COMMANDS",
        name="second",
        filter_subject="noetl.commands.shared.>",
        ack_wait=pool_durable("shared").ack_wait,
        max_deliver=50,
        max_ack_pending=1000,
    )
    notes = {
        event_id: make_notification(
            event_id,
            command=make_command("gate") if choose.random() < 0.7 else None,
        )
        for event_id in range(1, COMMANDS + 1)
    }
    orchestrator = Orchestrator(seed, notes)
    plane.start_answer = orchestrator.start
    plane.outcome_answer = orchestrator.outcome
    plane.claim_answer = orchestrator.claim
    plane.validate = False

    async with (
        start_worker(name="a", permits=8, timing=REPEATING) as a,
        start_worker(name="b", permits=8, timing=REPEATING, durable=second) as b,
    ):
        for worker in (a, b):
            worker.gate.open.set()
        for note in notes.values():
            await plane.notify(note)
            if choose.random() < 0.3:
                await plane.notify(note)
            await asyncio.sleep(0)
        rows = orchestrator.rows
        await eventually(
            lambda: all(row.finished for row in rows.values()),
            what="all commands are finished",
        )
        for worker in (a, b):
            await eventually(
                lambda worker=worker: worker.transport._pending_outcomes.count == 0,
                what="all outcomes are answered",
            )

    assert [len(row.effects) for row in rows.values()] == [1] * COMMANDS
