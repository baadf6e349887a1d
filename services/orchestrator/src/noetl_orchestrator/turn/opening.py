"""Build the dispatcher and the turns from settings, log and memory."""

from collections.abc import Callable
from dataclasses import dataclass

from noetl_orchestrator.log.opening import Log
from noetl_orchestrator.memory.opening import Memory
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.attempt import MakeFacts, TurnParts
from noetl_orchestrator.turn.child_cancels import ChildCancels
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.encode import Encoder
from noetl_orchestrator.turn.prepare import Preparation
from noetl_orchestrator.turn.request_keys import RequestKeys
from noetl_orchestrator.turn.turns import Turns


@dataclass(frozen=True, slots=True)
class TurnRoom:
    """Inputs that wait for a turn, and the turns that process them."""

    dispatcher: Dispatcher
    turns: Turns


def open_turns(
    settings: Settings,
    log: Log,
    memory: Memory,
    *,
    make_facts: MakeFacts,
    new_id: Callable[[], int],
) -> TurnRoom:
    """Build the turns of a process; `running_turns` runs them."""
    dispatcher = Dispatcher(
        turn_inputs=settings.turn_inputs,
        inputs_per_execution=settings.turn_inputs_per_execution,
    )
    turns = Turns(
        TurnParts(
            log=log,
            memory=memory,
            preparation=Preparation(
                cache=memory.cache,
                loader=memory.loader,
                playbooks=memory.playbooks,
                request_keys=RequestKeys(log.store),
                max_events=settings.turn_events_per_execution,
            ),
            child_cancels=ChildCancels(log.store),
            encoder=Encoder(
                log.outbox_rows,
                new_id,
                settings.snapshot_min_events,
                settings.command_start_grace_seconds,
            ),
            dispatcher=dispatcher,
            make_facts=make_facts,
            conflict_attempts=settings.conflict_attempts,
        )
    )
    return TurnRoom(dispatcher, turns)
