"""Stand-ins between turns and their store, and callers that keep answers."""

from collections.abc import Awaitable, Callable, Sequence

from msgspec import convert
from noetl_contract.ingress import EventsMessage
from noetl_engine.outputs import Answer
from noetl_orchestrator.log.commit_parameters import CommitParameters
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import Committed
from noetl_orchestrator.memory.cache import CachedExecution
from noetl_orchestrator.turn.inputs import Caller, Group, TurnInput
from noetl_pg.database import Row

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard

# An id that the messages can hold and the database can't.
TOO_LARGE = (1 << 63) + 7


# Times in which a decision should be made; on a busy machine a short one may be over before.
DEADLINES_MS = (700, 4_000, 20_000)


class Gate:
    """Stands before a replica's commits: counts them, delays them, lets them fail."""

    def __init__(self, replica: Replica) -> None:
        self.store = replica.rooms.store
        self.commits = 0
        self.sizes: list[int] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        self.after: Callable[[], Awaitable[None]] | None = None
        self._commit = Store.commit_turn
        self.store.commit_turn = self.commit_turn

    async def commit_turn(self, parameters: CommitParameters) -> Committed:
        self.commits += 1
        self.sizes.append(len(parameters.moves) + len(parameters.begins))
        if self.before is not None:
            await self.before()
        done = await self._commit(self.store, parameters)
        if self.after is not None:
            await self.after()
        return done


async def finish(shard: Shard, execution_id: int) -> None:
    """Play the worker until the execution has ended."""
    while commands := await shard.open_commands(execution_id):
        for command in commands:
            await shard.send(execution_id, shard.fast(command))


class Noted(Caller):
    """A caller that keeps its answers."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    async def answered(self, answer: Answer) -> None:
        self.answers.append(answer)


def beat(shard: Shard, command: Command, caller: Caller) -> Group:
    """The input that a posted heartbeat of a command becomes."""
    message = convert(shard.event(command, "command.heartbeat", attempts=0), EventsMessage)
    return Group(command.execution_id, [TurnInput(command.execution_id, message, caller)])


FAN_OUT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: fan_out, path: tests/fan_out}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: many}]}
  - step: many
    loop: {in: "{{ range(5) }}", iterator: item, spec: {mode: parallel}}
    tool: {kind: noop}
"""


WRITTEN = (
    "event",
    "command",
    "execution_state",
    "execution_snapshot",
    "timer",
    "outbox",
    "request_key",
)


async def written(shard: Shard) -> dict[str, list[Row]]:
    """Return all that commits write."""
    return {
        table: await shard.pool.fetch(f"SELECT * FROM noetl.{table} ORDER BY 1, 2")
        for table in WRITTEN
    }


async def forget_ids(replica: Replica, execution_id: int) -> None:
    """Make the engine forget event ids, as many later events would."""
    replica.rooms.cache.forget(execution_id)
    load = replica.rooms.loader.load

    async def load_forgetful(execution_ids: Sequence[int]) -> dict[int, CachedExecution]:
        found = await load(execution_ids)
        for entry in found.values():
            entry.execution.state.recent.clear()
        return found

    replica.rooms.loader.load = load_forgetful
