"""Operations by which services say how they are, and what was given up."""

from typing import Annotated

from msgspec import Meta

from noetl_contract.http.system.state import GivenUpList, ServiceState
from noetl_contract.model import Struct
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation


class GivenUpQuery(Struct):
    """How much of what was given up is wanted.

    ``with_letters`` is for one shard only: the broker's stream is that of all. Only letters with
    smaller numbers than ``before`` are listed.
    """

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    before: int | None = None
    with_letters: bool = False


CATALOG_STATE = Operation("catalog", "state", Nothing, ServiceState, repeatable=False)
"""Return how a process of the catalog is, its settings, and its consumer."""
ORCHESTRATOR_STATE = Operation("orchestrator", "state", Nothing, ServiceState, repeatable=False)
"""Return how a process of the orchestrator is, its settings, its consumers and the pools'."""
PROJECTOR_STATE = Operation("projector", "state", Nothing, ServiceState, repeatable=False)
"""Return how a process of the projector is, its settings, and its consumer."""
OUTBOX_STATE = Operation("outbox", "state", Nothing, ServiceState, repeatable=False)
"""Return how a process of the outbox is, its settings, and its backlog."""
GIVEN_UP = Operation("outbox", "given_up", GivenUpQuery, GivenUpList, repeatable=False)
"""List dead letters and parked rows, newest first."""
