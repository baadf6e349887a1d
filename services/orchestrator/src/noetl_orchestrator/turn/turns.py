"""Turns: groups of inputs, processed until each input has an answer."""

from collections.abc import Callable, Iterable
from datetime import datetime

from noetl_common.errors import Conflict, NoetlError, Permanent
from noetl_common.logging import get_logger
from noetl_common.retry import backoff

from noetl_orchestrator import metrics
from noetl_orchestrator.turn.attempt import TurnAttempt, TurnParts
from noetl_orchestrator.turn.dispatch import Postponed
from noetl_orchestrator.turn.inputs import Group, TurnInput
from noetl_orchestrator.turn.prepare import TOO_LATE, BadDecision

_log = get_logger()

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_MOST_NAMED = 20
# Of an input that is decided alone; two deliveries or more have come before.
_MOST_UNENDED = 2


class NeverEnded(Permanent):
    """The process ended with each turn of an input."""

    template = "the process hung or died whenever it was decided, {tries} times alone"


class Turns:
    """Process groups of inputs. One object serves all turns of a process."""

    def __init__(self, parts: TurnParts) -> None:
        self._parts = parts
        self._attempt = TurnAttempt(parts)

    async def run(self, groups: list[Group], beat: Callable[[], None]) -> list[Postponed]:
        """Process groups of disjoint executions; return those to try again later.

        Every other input has been answered, refused or given back by then. During an outage of
        the database the groups are held and tried again: an outage is not an attempt.
        """
        beat()
        metrics.BATCH_INPUTS.observe(sum(len(group.inputs) for group in groups))
        wanted = await self._still_wanted(groups)
        watched = [group for group in wanted if any(one.watch for one in group.inputs)]
        calm = [group for group in wanted if group not in watched] if watched else wanted
        postponed = await self._run_whole(calm, beat)
        for group in watched:
            postponed += await self._run_watched(group, beat)
        return postponed

    async def _run_whole(self, groups: list[Group], beat: Callable[[], None]) -> list[Postponed]:
        postponed = await self._process(groups, beat)
        return await self._hold(groups, beat) if postponed is None else postponed

    async def _run_watched(self, group: Group, beat: Callable[[], None]) -> list[Postponed]:
        """Decide the inputs of a group one by one, and count the turns that don't end (W14).

        Whatever has brought processes down is alone then, and is refused before its next try.
        """
        postponed: list[Postponed] = []
        for turn_input in group.inputs:
            beat()
            alone = Group(group.execution_id, [turn_input])
            watch = turn_input.watch
            if watch is None:
                postponed += await self._run_whole([alone], beat)
                continue
            try:
                tries = await self._parts.store.count_unended(
                    watch, execution_id=group.execution_id
                )
            except NoetlError as error:
                _log.warning(
                    "turn_not_counted", execution_id=group.execution_id, error=error.message
                )
                await turn_input.caller.given_back(_LONGEST_PAUSE_SECONDS)
                continue
            if tries > _MOST_UNENDED:
                await self._refuse_unended(alone)
            else:
                postponed += await self._run_whole([alone], beat)
            await self._forget_unended(watch)
        return _joined(postponed)

    async def _refuse_unended(self, alone: Group) -> None:
        (turn_input,) = alone.inputs
        self._forget([alone])
        error = NeverEnded(tries=_MOST_UNENDED)
        await self._parts.refusals.refuse(turn_input, BadDecision("decision", alone, error))

    async def _forget_unended(self, watch: str) -> None:
        try:
            await self._parts.store.forget_unended(watch)
        except NoetlError as error:
            # Counted once too often: at worst it is refused one death earlier.
            _log.warning("turn_not_forgotten", error=error.message)

    async def _process(
        self, groups: list[Group], beat: Callable[[], None]
    ) -> list[Postponed] | None:
        """Process groups once; return None if it is unknown whether they were committed."""
        if not groups:
            return []
        try:
            return await self._attempt.run(groups)
        except (BadDecision, Permanent, Conflict) as error:
            self._forget(groups)
            return await self._take_apart(groups, error, beat)
        except NoetlError as error:
            # It may have been committed: reload, and let the keys decide (W8).
            self._forget(groups)
            _mark_repeated(groups)
            ids = [group.execution_id for group in groups[:_MOST_NAMED]]
            _log.warning("turn_held", error=error.message, inputs=len(groups), execution_ids=ids)
            return None

    async def _hold(self, groups: list[Group], beat: Callable[[], None]) -> list[Postponed]:
        """Try groups again until the database is there."""
        postponed: list[Postponed] | None = None
        with metrics.DATABASE_HELD_UP.track_inprogress():
            async for attempt in backoff(
                first_seconds=_FIRST_PAUSE_SECONDS,
                longest_seconds=_LONGEST_PAUSE_SECONDS,
                jitter=0.5,
            ):
                if attempt == 0:
                    continue  # that was the first try, before
                beat()
                groups = await self._still_wanted(groups)
                postponed = await self._process(groups, beat)
                if postponed is not None:
                    break
        return postponed or []

    async def _still_wanted(self, groups: list[Group]) -> list[Group]:
        """Return the groups without inputs whose result is no longer wanted (W4, W5).

        A replica that has left its executions to siblings gives all of them back at once.
        """
        if self._parts.replicas.is_withdrawn:
            for group in groups:
                for turn_input in group.inputs:
                    await turn_input.caller.given_back(0.0)
            return []
        now = self._parts.clock.now()
        found = []
        for group in groups:
            inputs = [
                turn_input
                for turn_input in group.inputs
                if turn_input.caller.is_waiting and not await self._is_too_late(turn_input, now)
            ]
            if inputs:
                found.append(Group(group.execution_id, inputs))
        return found

    async def _is_too_late(self, turn_input: TurnInput, now: datetime) -> bool:
        """Drop a start past its deadline: its sender knows from an answer that nothing was started.

        A start that may have been committed is looked up first, for its answer is still true.
        """
        if (
            turn_input.deadline is None
            or turn_input.deadline > now
            or turn_input.is_repeated
            or turn_input.attempts
        ):
            return False
        metrics.STARTS_DROPPED.inc()
        await turn_input.caller.answered(TOO_LATE)
        return True

    async def _take_apart(
        self, groups: list[Group], error: Exception, beat: Callable[[], None]
    ) -> list[Postponed]:
        """Repeat a failed batch in smaller pieces until the bad input is alone (W2)."""
        if len(groups) > 1:
            pieces = [[group] for group in groups]
            if isinstance(error, BadDecision):
                bad = error.group.execution_id
                rest = [group for group in groups if group.execution_id != bad]
                pieces = [rest, [group for group in groups if group.execution_id == bad]]
            postponed: list[Postponed] = []
            for piece in pieces:
                postponed += await self.run(piece, beat)
            return postponed
        (group,) = groups
        if len(group.inputs) > 1:
            postponed = []
            for turn_input in group.inputs:
                postponed += await self.run([Group(group.execution_id, [turn_input])], beat)
            return _joined(postponed)
        (turn_input,) = group.inputs
        if isinstance(error, Conflict):
            turn_input.attempts += 1
            _mark_repeated(groups)
            if turn_input.attempts < self._parts.conflict_attempts:
                return [(group, _FIRST_PAUSE_SECONDS)]
            await turn_input.caller.given_back(_LONGEST_PAUSE_SECONDS)
            return []
        await self._parts.refusals.refuse(turn_input, error)
        return []

    def _forget(self, groups: Iterable[Group]) -> None:
        for group in groups:
            self._parts.cache.forget(group.execution_id)


def _mark_repeated(groups: Iterable[Group]) -> None:
    for group in groups:
        for turn_input in group.inputs:
            turn_input.is_repeated = True


def _joined(postponed: list[Postponed]) -> list[Postponed]:
    """Join the groups of each execution, because it may be postponed only once."""
    groups: dict[int, Postponed] = {}
    for group, pause in postponed:
        known = groups.get(group.execution_id)
        if known is None:
            groups[group.execution_id] = (group, pause)
        else:
            known[0].inputs.extend(group.inputs)
            known[0].waits_for = known[0].waits_for or group.waits_for
    return list(groups.values())
