"""Runs of commands in a worker whose every wait is ended by the test, in any order."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import orjson
from noetl_bus.consumers.permits import Permits
from noetl_common.errors import NoetlError, Permanent, Unavailable
from noetl_contract.commands import CommandNotification
from noetl_worker.commands import Command
from noetl_worker.control_plane.registration import Identity
from noetl_worker.run.reports import Outcome, Reporter
from noetl_worker.settings import Settings
from noetl_worker.transports.fast.channel import ClaimAnswer, Hear
from noetl_worker.transports.fast.claims import Claims
from noetl_worker.transports.fast.message import Message
from noetl_worker.transports.fast.messages import Messages
from noetl_worker.transports.fast.pending_outcomes import PendingOutcomes
from noetl_worker.transports.fast.timing import Timing
from noetl_worker.transports.fast.transport import FastTransport
from noetl_worker.transports.hearing import Hearing
from noetl_worker.transports.known_commands import KnownCommands
from noetl_worker.transports.runs import Runs
from noetl_worker.transports.work import Work
from noetl_worker.workloads import Workloads
from worker_control_plane import granted, make_command, make_notification

type Fenced = tuple[int, int]
"""A command's event id and its attempts: what tells one run from another."""


class SteppedLoop(asyncio.SelectorEventLoop):
    """Ends no pause by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[asyncio.TimerHandle] = []

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.timers.append(handle)
        return handle


class Refused(Permanent):
    template = "never taken"


class Notified:
    """A notification that was delivered."""

    subject = "noetl.commands.shared.7"
    stream_sequence = 1
    num_pending = 0

    def __init__(self, note: dict[str, Any], number: int) -> None:
        self.note = note
        self.data = orjson.dumps(note)
        self.num_delivered = number
        self.answers: list[str] = []

    async def ack(self) -> None:
        self.answers.append("ack")

    async def nak(self, _seconds: float) -> None:
        self.answers.append("nak")


class Script:
    """The tool, and the channel, as the test has them answer; sees to what must never happen."""

    def __init__(self) -> None:
        self.is_open = True
        self.begun: Counter[Fenced] = Counter()
        self.outcomes: Counter[Fenced] = Counter()
        self.replacements: Counter[Fenced] = Counter()
        self.doubtful: set[Fenced] = set()
        self.message_ids: set[str] = set()
        self.lost: set[Fenced] = set()
        self.working: list[tuple[Command, asyncio.Future[Outcome]]] = []
        self.sending: list[tuple[Message, asyncio.Future[bool]]] = []
        self.claiming: list[tuple[CommandNotification, bool, asyncio.Future[Any]]] = []
        self.heard: dict[str, tuple[Message, Hear]] = {}
        self.stubborn = False
        self._names = count(1)

    async def run(self, command: Command, _results: Any) -> Outcome:
        fenced = command.event_id, command.attempts
        self.begun[fenced] += 1
        assert self.begun[fenced] == 1, "begun twice"
        assert fenced not in self.lost, "begun although it is lost"
        assert fenced not in self.doubtful, "begun without a claim"
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.working.append((command, ended))
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
            return await ended

    def open(self, message: Message, hear: Hear) -> str:
        name = str(next(self._names))
        fenced = fenced_of(message)
        if message.kind == "start":
            assert not self.outcomes[fenced], "a start after the outcome"
        elif b"refused the result" in message.body:
            self.replacements[fenced] += 1
            assert self.replacements[fenced] <= self.outcomes[fenced], "replaced twice"
        else:
            assert fenced not in self.lost, "an outcome of a lost run"
            self.outcomes[fenced] += 1
            assert self.outcomes[fenced] == 1, "a second outcome"
        self.heard[name] = message, hear
        return name

    def forget(self, message: Message) -> None:
        del self.heard[message.reply]

    async def send(self, message: Message, message_id: str, *, seconds: float) -> bool:
        del seconds
        self._sends(message, message_id)
        sent: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.sending.append((message, sent))
        return await sent

    async def send_again(self, messages: Sequence[tuple[Message, str]]) -> None:
        for message, message_id in messages:
            assert message_id not in self.message_ids, "the broker would take it for stored"
            self._sends(message, message_id)

    def _sends(self, message: Message, message_id: str) -> None:
        self.message_ids.add(message_id)
        assert message.reply in self.heard, "sent although it is forgotten"
        is_start = message.kind == "start"
        assert not (is_start and self.outcomes[fenced_of(message)]), "a start after the outcome"

    async def claim(
        self,
        note: CommandNotification,
        identity: Identity,
        *,
        known_workload: int,
        after_start: bool,
        seconds: float,
    ) -> ClaimAnswer | None:
        del identity, known_workload, seconds
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.claiming.append((note, after_start, answer))
        return await answer


def fenced_of(message: Message) -> Fenced:
    return message.command.event_id, message.command.attempts


class World:
    """One worker, and what its control plane knows of its commands."""

    def __init__(self, *, permits: int, gives_up: bool, is_stubborn: bool) -> None:
        self.loop = SteppedLoop()
        self.script = Script()
        self.script.stubborn = is_stubborn
        self.runs, self.hearing = Runs(), Hearing()
        self.pending = PendingOutcomes(most=3, most_bytes=1 << 20)
        self.permits = Permits(permits, most_released=2)
        self.transport = self._transport(0.0 if gives_up else 600.0)
        self.handling: list[asyncio.Task[None]] = []
        self.delivered: list[Notified] = []
        self.given: list[Fenced] = []
        self._event_ids = count(1)
        self._attempts: Counter[int] = Counter()
        self.hear_of_ends()

    def _transport(self, give_up_seconds: float) -> FastTransport:
        timing = Timing(
            claim_give_up_seconds=give_up_seconds,
            answer_seconds=0.0,
            longest_repeat_seconds=0.0,
            next_seconds=600.0,
        )
        identity = Identity.of_this_process(Settings(worker_id="w-1"))
        script: Any = self.script
        self.messages = Messages(
            script,
            identity=identity,
            reporter=Reporter(worker_id="w-1", next_id=count(10**6).__next__),
            pending_outcomes=self.pending,
            timing=timing,
        )
        return FastTransport(
            self.messages,
            claims=Claims(script, identity=identity, timing=timing, workloads=Workloads(1 << 20)),
            control=script,
            work=Work(script, script, self.runs),
            other=script,
            hearing=self.hearing,
        )

    # -- what may happen ------------------------------------------------------------------

    def deliver(self, _: int = 0) -> None:
        """Notify the worker of a command."""
        self._deliver(Notified(self._fresh_note(), 1))

    def deliver_again(self, index: int) -> None:
        """Notify the worker once more of a command that it has not acknowledged."""
        before = [one for one in self.delivered if one.answers != ["ack"]]
        if before:
            one = picked(before, index)
            self._deliver(Notified(one.note, one.num_delivered + 1))

    def _deliver(self, delivery: Notified) -> None:
        self.delivered.append(delivery)
        self.handling.append(self.loop.create_task(self._handle(delivery)))
        self.go_on()

    def _fresh_note(self, seconds: float = 30.0) -> dict[str, Any]:
        event_id = next(self._event_ids)
        return make_notification(event_id, command=make_command(), seconds=seconds)

    async def _handle(self, delivery: Any) -> None:
        await self.permits.acquire()
        self.permits.enter()
        try:
            await self.transport.handle(delivery)
        finally:
            self.permits.release()

    def end_tool(self, index: int) -> None:
        _, ended = picked(self.script.working, index)
        self._end(ended, Outcome())

    def answer_claim(self, index: int, verdict: str) -> None:
        """Grant a claim, or refuse it, or lose it."""
        note, after_start, answer = picked(self.script.claiming, index)
        event_id = note.event_id
        attempts = self._attempts[event_id]
        if verdict == "lost":
            self._end(answer, None)
        elif verdict == "refused":
            if after_start:
                self.script.lost.add((event_id, attempts))
            self._end(answer, (409, {"error": "taken"}))
        else:
            is_own = verdict == "own" and (event_id, attempts) not in self.script.lost
            if not (after_start and is_own):
                # Who has it now is another run, also in the same worker.
                self.script.lost.add((event_id, attempts))
                self._attempts[event_id] += 1
            whole = make_notification(event_id)
            body = granted(whole, make_command(), attempts=self._attempts[event_id])
            self._end(answer, (200, body))

    def sending(self, kind: str) -> list[tuple[Message, asyncio.Future[bool]]]:
        return [one for one in self.script.sending if one[0].kind == kind]

    def end_start(self, index: int, what: str) -> None:
        self._end_sending("start", index, what)

    def end_outcome(self, index: int, what: str) -> None:
        self._end_sending("outcome", index, what)

    def _end_sending(self, kind: str, index: int, what: str) -> None:
        _, sent = picked(self.sending(kind), index)
        error: NoetlError | None = None
        if what == "refused":
            error = Refused()
        elif what == "unavailable":
            error = Unavailable(what="it")
        self._end(sent, what == "stored", error)

    def answer(self, index: int, status: str) -> None:
        """Answer a message, even if it is still being sent."""
        message, hear = picked(list(self.script.heard.values()), index)
        if message.kind == "start":
            status = {"ok": "held", "late": "lost"}.get(status, status)
        if status == "lost":
            self.script.lost.add(fenced_of(message))
        body = orjson.dumps({"status": 422 if status == "refused" else status})
        self._do(lambda: hear(body))

    def answer_with_next(self, index: int) -> None:
        """Answer an outcome that is still being sent, and give the worker another command."""
        message, _ = picked(self.sending("outcome"), index)
        if message.reply not in self.script.heard:
            return
        _, hear = self.script.heard[message.reply]
        given = self._note_to_give(index)
        body = orjson.dumps({"status": "ok", "next": given})
        self._do(lambda: hear(body))

    def _note_to_give(self, index: int) -> dict[str, Any]:
        """Return a fresh command, now and then an overdue one, or one that is here already."""
        known = [one.note for one in self.delivered if one.note["event_id"] in self.known]
        if index % 5 == 0 and known:
            return picked(known, index)
        if index % 5 == 1:
            overdue = self._fresh_note(seconds=-1.0)
            self.script.doubtful.add((overdue["event_id"], 0))
            return overdue
        given = self._fresh_note()
        self.given.append((given["event_id"], 0))
        return given

    def end_run(self, index: int) -> None:
        """Say that a run is over, as hints and answers to heartbeats do."""
        named = picked(self.runs.named(), index)
        self.script.lost.add((named.event_id, named.attempts))
        self._do(lambda: self.runs.stop(named.event_id, attempts=named.attempts))

    def break_connection(self, index: int) -> None:
        """Lose the connection, for a moment or until it is lost again."""
        self.hearing.lose()
        self.script.doubtful |= {one for one in self.given if not self.script.begun[one]}
        if index % 3:
            self.hear_of_ends()

    def hear_of_ends(self) -> None:
        self.hearing._after = 0

    def end_pause(self, index: int) -> None:
        """Let the time of something be up: of a start, of a pause, of the wait for a slot."""
        timer = picked(self.timers, index)
        self.loop.timers.remove(timer)
        self._do(timer._run)

    def look(self, _: int = 0) -> None:
        """Send again what is not answered."""
        self.loop.run_until_complete(self.messages.look())
        self.go_on()

    def stop(self) -> None:
        """Take no more, and end what runs; a tool that doesn't care goes on to its end."""
        self.permits.is_over = True
        for _ in range(2):
            for task in self.handling:
                task.cancel()
            self.go_on()
            for _, ended in self.script.working:
                self._end(ended, Outcome())

    # -- at any time ----------------------------------------------------------------------

    def go_on(self) -> None:
        """Let everything happen that waits for nothing."""
        self.loop.run_until_complete(spin())
        self.script.working = [one for one in self.script.working if not one[-1].done()]
        self.script.sending = [one for one in self.script.sending if not one[-1].done()]
        self.script.claiming = [one for one in self.script.claiming if not one[-1].done()]

    @property
    def known(self) -> KnownCommands:
        return self.transport._known

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        self.loop.timers = [one for one in self.loop.timers if not one.cancelled()]
        return self.loop.timers

    def _end[T](self, future: "asyncio.Future[T]", result: T, error: Any = None) -> None:
        if not future.done():
            future.set_exception(error) if error else future.set_result(result)
        self.go_on()

    def _do(self, act: Callable[[], object]) -> None:
        async def acted() -> None:
            act()

        self.loop.run_until_complete(acted())
        self.go_on()

    def check(self) -> None:
        for task in self.handling:
            if task.done() and not task.cancelled():
                task.result()
        for delivery in self.delivered:
            assert len(delivery.answers) <= 1, "answered twice"
        waiting = {m.reply for m, _ in self.script.heard.values() if m.kind == "outcome"}
        assert self.pending.count == len(waiting)

    def close(self) -> None:
        """Answer everything: nothing may be left."""
        self.stop()
        while self.script.heard:
            self.answer(0, "ok")
        self.check()
        assert all(task.done() for task in self.handling)
        assert not self.known._held
        assert not self.transport._asking
        self.loop.close()


async def spin() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


def picked[T](found: Sequence[T], index: int) -> T:
    return found[index % len(found)]
