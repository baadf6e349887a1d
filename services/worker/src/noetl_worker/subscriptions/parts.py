"""Parts that the pieces of a runtime share."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from noetl_worker.sources.source import Source
from noetl_worker.subscriptions.circuit import Circuit
from noetl_worker.subscriptions.control import Control, Document
from noetl_worker.subscriptions.dead_letters import DeadLetters
from noetl_worker.subscriptions.spool.spool import Spool

type OpenSource = Callable[[], Coroutine[None, None, Source]]
"""Makes and opens a source; raises `SourceAway` and `WrongSource`."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one runtime.

    Attributes:
        control: calls to the control plane.
        document: what the subscription says.
        open_source: opens the source anew.
        circuit: knows whether starts are possible.
        dead_letters: takes what never starts anything.
        spool: keeps messages meanwhile, if the subscription has one.
        poll_seconds: between looks at the subscription's state.
        beat: called as a sign of life of the loop.
    """

    control: Control
    document: Document
    open_source: OpenSource
    circuit: Circuit
    dead_letters: DeadLetters
    spool: Spool | None
    poll_seconds: float
    beat: Callable[[], None]
