"""The original worker's protocol: claim, started, call, completed."""

import asyncio
from dataclasses import dataclass
from time import perf_counter

from noetl_bus.consumers.delivery import Delivery
from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.commands import CommandNotification
from noetl_contract.ingress import WireEvent
from noetl_contract.json import Json, JsonObject

from noetl_worker import jsonb, metrics
from noetl_worker.commands import (
    Command,
    UndecodableClaim,
    decode_claim,
    decode_notification,
)
from noetl_worker.control_plane.edge import Edge, EdgeUnreachable
from noetl_worker.control_plane.registration import Identity
from noetl_worker.run.reports import Reporter
from noetl_worker.traces import taken
from noetl_worker.transports.known_commands import KnownCommands
from noetl_worker.transports.work import Work
from noetl_worker.workloads import Workloads

_GRANTED = frozenset({200, 201})
_LATER = frozenset({408, 429, 502, 503, 504})
_REFUSED = 409

_log = get_logger()


@dataclass(frozen=True, slots=True)
class HttpTiming:
    """Pauses and numbers of tries."""

    nak_seconds: float = 0.25
    longest_nak_seconds: float = 30.0
    longest_later_seconds: float = 5.0
    post_pause_seconds: float = 0.5
    longest_post_pause_seconds: float = 10.0
    post_tries: int = 4


class HttpTransport:
    """Claim and report at the edge that a notification names."""

    def __init__(
        self,
        edge: Edge,
        *,
        identity: Identity,
        work: Work,
        reporter: Reporter,
        workloads: Workloads,
        timing: HttpTiming | None = None,
    ) -> None:
        self._edge = edge
        self._identity = identity
        self._work = work
        self._runs = work.runs
        self._reporter = reporter
        self._workloads = workloads
        self._timing = timing or HttpTiming()
        self._known = KnownCommands()

    async def register(self) -> bool:
        """Register the pool."""
        status, _ = await self._pool_call("register", self._identity.registration())
        return _is_success(status)

    async def heartbeat(self) -> bool:
        """Send a heartbeat; its answer names the runs that are over."""
        body = self._identity.heartbeat()
        named = [run.model_dump() for run in self._runs.named()]
        if named:
            body["commands"] = named
        status, answer = await self._pool_call("heartbeat", body)
        if isinstance(answer, dict):
            self._runs.on_answer(answer.get("over"))
        return status != 404

    async def deregister(self) -> None:
        """Deregister the worker."""
        await self._pool_call("deregister", self._identity.deregistration())

    async def _pool_call(self, operation: str, body: JsonObject) -> tuple[int | None, Json]:
        try:
            status, answer = await self._edge.call_json(
                "POST", f"/api/worker/pool/{operation}", body
            )
        except EdgeUnreachable as error:
            _log.warning("edge_unreachable", operation=operation, error=str(error))
            return None, None
        if status >= 300:
            _log.warning("edge_refused", operation=operation, status=status, answer=answer)
        return status, answer

    async def handle(self, delivery: Delivery) -> None:
        """Claim a command, run it, and post its events."""
        started = perf_counter()
        note = decode_notification(delivery.data)
        taken(note, delivery)
        if note.event_id in self._known:
            # The ack was lost: claiming again would run the tool twice at once.
            await delivery.ack()
            return
        self._known.hold(note.event_id)
        reported = False
        try:
            command = await self._claim(note, delivery)
            metrics.PULL_SECONDS.observe(perf_counter() - started)
            if command is not None:
                reported = await self._run(command)
        finally:
            # A command without a report is delivered again, perhaps to this worker.
            (self._known.finish if reported else self._known.let_go)(note.event_id)

    async def _claim(self, note: CommandNotification, delivery: Delivery) -> Command | None:
        try:
            status, body = await self._edge.call_json(
                "POST",
                f"/api/commands/{note.event_id}/claim",
                self._claim_of(note),
                base=note.server_url,
            )
        except EdgeUnreachable as error:
            _log.warning("claim_unanswered", event_id=note.event_id, error=str(error))
            await self._give_back(delivery, "retry_later")
            return None
        if status in _GRANTED:
            try:
                command = decode_claim(body, note, self._workloads)
            except UndecodableClaim as error:
                _log.error("claim_undecodable", event_id=note.event_id, error=error.message)
                await self._give_back(delivery, "failed")
                return None
            await delivery.ack()
            metrics.PULLS.labels("claimed").inc()
            return command
        if status == _REFUSED:
            metrics.PULLS.labels("already_claimed").inc()
            await delivery.ack()
            return None
        _log.warning("claim_refused", event_id=note.event_id, status=status, answer=body)
        await self._give_back(delivery, "retry_later" if status in _LATER else "failed")
        return None

    def _claim_of(self, note: CommandNotification) -> JsonObject:
        body: JsonObject = {"worker_id": self._identity.worker_id}
        if note.fast is not None:  # else the server is another one
            body["known_workload"] = self._workloads.position(note.execution_id)
        return body

    async def _give_back(self, delivery: Delivery, outcome: str) -> None:
        """Ask for redelivery, later each time: a claim refused for good must not spin."""
        metrics.PULLS.labels(outcome).inc()
        timing = self._timing
        delay = timing.nak_seconds * 2.0 ** min(delivery.num_delivered - 1, 20)
        is_later = outcome == "retry_later"
        longest = timing.longest_later_seconds if is_later else timing.longest_nak_seconds
        await delivery.nak(min(delay, longest))

    async def _run(self, command: Command) -> bool:
        """Run the tool and report; False when the control plane did not accept the reports."""
        if not await self._post(command, self._reporter.started(command), forever=False):
            # As the original worker: no tool without its start; after its lease another gets it.
            _log.error("start_not_accepted", command_id=command.command_id)
            return False
        outcome = await self._work.on(command)
        if outcome is None:
            return False
        for event in self._reporter.ended(command, outcome):
            if not await self._post(command, event, forever=True):
                return False
        return True

    async def _post(self, command: Command, event: WireEvent, *, forever: bool) -> bool:
        """Post an event until it is accepted; its id stays the same, so twice is once.

        Four tries as the original worker. An outcome is repeated beyond that, unless the edge says
        that it will never be accepted: giving up would make its tool run again.
        """
        event_type = event.event_type
        body = jsonb.encode({"execution_id": command.execution_id, **jsonb.opened(event)})
        timing = self._timing
        started = perf_counter()
        async for attempt in backoff(
            first_seconds=timing.post_pause_seconds,
            longest_seconds=timing.longest_post_pause_seconds,
        ):
            status = await self._post_once(command, body)
            if status is not None and status < 300:
                metrics.EMIT_SECONDS.labels(event_type).observe(perf_counter() - started)
                return True
            used_up = attempt + 1 >= timing.post_tries
            if used_up and (not forever or _is_final(status)):
                _log.error(
                    "event_dropped",
                    event_type=event_type,
                    command_id=command.command_id,
                    status=status,
                )
                break
            metrics.EMIT_RETRIES.labels(event_type).inc()
        return False

    async def _post_once(self, command: Command, body: bytes) -> int | None:
        base = command.server_url or None
        try:
            status, answer = await self._edge.call("POST", "/api/events", body, base=base)
        except EdgeUnreachable as error:
            _log.warning("event_unanswered", command_id=command.command_id, error=str(error))
            return None
        if status >= 300:
            _log.warning(
                "event_refused",
                command_id=command.command_id,
                status=status,
                answer=answer[:500].decode("utf-8", "replace"),
            )
        return status

    async def run_confirmations(self) -> None:
        """Nothing to repeat: every post waits for its own answer."""
        await asyncio.Event().wait()

    async def settle(self, *, seconds: float) -> None:
        """Nothing is left unanswered once the handlers have ended."""
        del seconds


def _is_success(status: int | None) -> bool:
    return status is not None and status < 300


def _is_final(status: int | None) -> bool:
    return status is not None and 400 <= status < 500 and status not in {408, 425, 429}
