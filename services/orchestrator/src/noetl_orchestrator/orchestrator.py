"""The parts of an orchestrator, put together; whoever has a bus and a database can run one."""

from collections.abc import Callable
from dataclasses import dataclass

import asyncpg
from noetl_common.bus.broker import Bus
from noetl_common.ids import SnowflakeIds
from noetl_engine.execution import Execution
from noetl_engine.inputs import Facts
from noetl_engine.playbook import Playbook

from noetl_orchestrator.ingress.claims import ClaimHandler
from noetl_orchestrator.ingress.handlers import IngressHandler
from noetl_orchestrator.leases.broker import BrokerView
from noetl_orchestrator.leases.sweeper import Sweeper, SweepSettings
from noetl_orchestrator.leases.worker_liveness import Liveness
from noetl_orchestrator.log.outbox_hints import Hints
from noetl_orchestrator.log.outbox_rows import Announcer
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.memory.cache import ExecutionCache
from noetl_orchestrator.memory.database_clock import DatabaseClock
from noetl_orchestrator.memory.loader import ExecutionFactory, Loader
from noetl_orchestrator.memory.playbooks import FetchContent, Playbooks
from noetl_orchestrator.memory.replicas import Replicas
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.child_cancels import ChildCancels
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.encode import Encoder
from noetl_orchestrator.turn.prepare import Preparation
from noetl_orchestrator.turn.request_keys import RequestKeys
from noetl_orchestrator.turn.turn import Turns

type Pool = asyncpg.Pool[asyncpg.Record]

# How much older than its interval an answer about the workers may be.
_LIVENESS_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Parts:
    """What the loops of a process run on."""

    store: Store
    clock: DatabaseClock
    cache: ExecutionCache
    playbooks: Playbooks
    dispatcher: Dispatcher
    turns: Turns
    replicas: Replicas
    liveness: Liveness
    sweeper: Sweeper
    on_batch: IngressHandler
    on_claim: ClaimHandler


def assemble(
    settings: Settings,
    *,
    bus: Bus,
    turn_pool: Pool,
    background_pool: Pool,
    ids: SnowflakeIds,
    fetch_content: FetchContent,
    parse: Callable[[str], Playbook],
    executions: ExecutionFactory = Execution,
) -> Parts:
    """Build the parts of one shard's orchestrator."""
    shard = settings.shard_index
    store = Store(
        turn_pool, background_pool, commit_timeout_seconds=settings.commit_timeout_seconds
    )
    clock = DatabaseClock()
    cache = ExecutionCache(max_executions=settings.cache_executions, max_bytes=settings.cache_bytes)
    playbooks = Playbooks(
        fetch_content,
        parse,
        max_kept=settings.cache_playbooks,
        thread_from_bytes=settings.parse_in_thread_bytes,
    )
    dispatcher = Dispatcher(
        turn_inputs=settings.turn_inputs,
        inputs_per_execution=settings.turn_inputs_per_execution,
    )
    announcer = Announcer(
        shard=shard,
        shard_count=settings.shard_count,
        server_url=settings.public_server_url.rstrip("/"),
        fast_path_seconds=settings.fast_path_seconds,
        fast_path_max_bytes=settings.fast_path_max_bytes if settings.fast_path_enabled else 0,
        hint_payload_max_bytes=settings.hint_payload_max_bytes,
    )
    liveness = Liveness(
        max_age_seconds=settings.liveness_seconds * _LIVENESS_INTERVALS,
        edge_stale_seconds=settings.edge_stale_seconds(),
    )
    limits = settings.limits()

    def make_facts() -> Facts:
        return Facts(
            now=clock.now(),
            new_id=ids.next,
            workers=liveness.workers,
            heard_since=liveness.heard_since,
            limits=limits,
        )

    replicas = Replicas(bus, cache, shard=shard)
    loader = Loader(store, executions)
    turns = Turns(
        store=store,
        loader=loader,
        cache=cache,
        preparation=Preparation(
            cache=cache,
            loader=loader,
            playbooks=playbooks,
            request_keys=RequestKeys(store),
            most_events=settings.turn_events_per_execution,
        ),
        child_cancels=ChildCancels(store),
        encoder=Encoder(
            announcer,
            ids.next,
            settings.snapshot_min_events,
            settings.command_start_grace_seconds,
        ),
        dispatcher=dispatcher,
        clock=clock,
        hints=Hints(bus, shard=shard, max_bytes=settings.hint_max_bytes),
        replicas=replicas,
        make_facts=make_facts,
        conflict_attempts=settings.conflict_attempts,
    )
    sweeper = Sweeper(
        store=store,
        dispatcher=dispatcher,
        liveness=liveness,
        broker=BrokerView(bus),
        announcer=announcer,
        hints=Hints(bus, shard=shard, max_bytes=settings.hint_max_bytes),
        make_facts=make_facts,
        new_id=ids.next,
        settings=SweepSettings(
            next_look_seconds=settings.command_claim_lease_seconds,
            again_seconds=settings.lease_again_seconds,
            again_max_seconds=settings.pending_retry_max_seconds,
            limit=settings.lease_sweep_limit,
            pending_retry_seconds=settings.pending_retry_seconds,
            pending_retry_max_seconds=settings.pending_retry_max_seconds,
            backlog_seconds=settings.ingress_backlog_seconds,
        ),
    )
    return Parts(
        store=store,
        clock=clock,
        cache=cache,
        playbooks=playbooks,
        dispatcher=dispatcher,
        turns=turns,
        replicas=replicas,
        liveness=liveness,
        sweeper=sweeper,
        on_batch=IngressHandler(
            bus,
            dispatcher,
            shard=shard,
            shard_count=settings.shard_count,
            idempotency_seconds=settings.request_key_seconds,
        ),
        on_claim=ClaimHandler(
            store,
            dispatcher,
            shard=shard,
            shard_count=settings.shard_count,
            patience_seconds=settings.claim_patience_seconds,
        ),
    )
