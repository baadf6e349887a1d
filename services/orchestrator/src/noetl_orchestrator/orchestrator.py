"""Build one orchestrator from its rooms, on a bus and a database; `app` and tests use it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self

from noetl_bus.broker import Bus
from noetl_common.clock import ServerClock
from noetl_common.ids import SnowflakeIds
from noetl_common.logging import get_logger
from noetl_contract.streams import ingress_durable
from noetl_engine.execution import Execution
from noetl_engine.inputs import Facts
from noetl_engine.playbook import Playbook
from noetl_pg.database import Database
from noetl_pg.pool import Pool
from noetl_pg.watch import Reachability
from noetl_service.service import Service

from noetl_orchestrator.catalog.lookups import Catalog, Triggers
from noetl_orchestrator.catalog.pauses import Pauses
from noetl_orchestrator.catalog.playbooks import Playbooks
from noetl_orchestrator.ingress.door import Door
from noetl_orchestrator.ingress.handlers import IngressHandler
from noetl_orchestrator.ingress.spill_reader import SpillReader
from noetl_orchestrator.leases.broker import BrokerView
from noetl_orchestrator.leases.children import Children
from noetl_orchestrator.leases.demand import Demand
from noetl_orchestrator.leases.runs import Runs
from noetl_orchestrator.leases.sweeper import Sweeper
from noetl_orchestrator.leases.worker_liveness import WorkerLiveness
from noetl_orchestrator.log.appends import Appends
from noetl_orchestrator.log.origins import Origins
from noetl_orchestrator.log.retention import Retention
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.memory.agenda import Agenda
from noetl_orchestrator.memory.cache import ExecutionCache
from noetl_orchestrator.memory.costs import Costs
from noetl_orchestrator.memory.joins import Joins
from noetl_orchestrator.memory.loader import Loader
from noetl_orchestrator.publishing.after_commit import AfterCommit
from noetl_orchestrator.publishing.effects import Choice
from noetl_orchestrator.publishing.outbox_rows import OutboxRows
from noetl_orchestrator.publishing.pool_watch import PoolWatch
from noetl_orchestrator.publishing.publisher import OutboxPublisher, Repetitions
from noetl_orchestrator.replicas.replicas import Replicas
from noetl_orchestrator.result_store import ResultReader, ResultStore
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.attempt import TurnParts
from noetl_orchestrator.turn.child_cancels import ChildCancels
from noetl_orchestrator.turn.decide import Decider
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.encode import Encoder
from noetl_orchestrator.turn.prepare import Preparation
from noetl_orchestrator.turn.refusals import Refusals
from noetl_orchestrator.turn.starts import Starts
from noetl_orchestrator.turn.turns import Turns

_log = get_logger()
_POOL_LOOK_SECONDS = 30.0
_SLOW_PART = 0.2
"""Part of a turn's time above which a playbook's decisions count as slow."""


class Orchestrator:
    """The parts of one shard's orchestrator, from the ground up.

    As a context manager it sets the clock, and gives connections back at the end. The loops are
    started by others.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        bus: Bus,
        turn_pool: Pool,
        background_pool: Pool,
        ids: SnowflakeIds,
        catalog: Catalog,
        parse: Callable[[str], Playbook],
        executions: type[Execution] = Execution,
        reach: Reachability | None = None,
    ) -> None:
        # size: one line for each part, in the order in which they need each other
        self.triggers = Triggers()
        self._settings = settings
        self._limits = settings.limits()
        self._new_id = ids.next
        database = Database(background_pool)
        self.store = Store(turn_pool, database, settings)
        self.appends = Appends(database)
        self.retention = Retention(database, archived_only=settings.retention_archived_only)
        self.pools = PoolWatch(bus, interval_seconds=_POOL_LOOK_SECONDS)
        rows = OutboxRows.of(settings, ids.next)
        self._publisher = OutboxPublisher(bus, settings, self.pools)
        self.clock = ServerClock()
        self.pauses = Pauses()
        self.agenda = Agenda(self.store.find_next_looks, self.clock)
        self.cache = ExecutionCache(
            max_executions=settings.cache_executions, max_bytes=settings.cache_bytes
        )
        origins = Origins(database)
        self.loader = Loader(self.store, origins, executions)
        self.results = ResultReader(
            ResultStore(bus, shard=settings.shard_index),
            origins,
            most_bytes=settings.decision_result_bytes,
        )
        self.playbooks = Playbooks(catalog, parse, settings)
        self.joins = Joins(self.store, self.loader, self.playbooks)
        self.replicas = Replicas(
            bus,
            self.cache,
            shard=settings.shard_index,
            fewest_active=settings.replicas_active_min,
            reach=reach,
        )
        self._costs = Costs(self.cache, slow_seconds=settings.turn_seconds * _SLOW_PART)
        self.dispatcher = self._build_dispatcher()
        repetitions = Repetitions(self.store, self._publisher, rows, settings)
        after_commit = AfterCommit(bus, self.store, self._publisher, repetitions, self.replicas)
        starts = Starts(self.store, catalog, settings)
        self.turns = self._build_turns(rows, after_commit, starts)

        self.liveness = WorkerLiveness(settings, pauses=self.pauses)
        self.clock.on_leap.append(self.liveness.interrupt)
        self.sweeper = Sweeper(
            store=self.store,
            repetitions=repetitions,
            dispatcher=self.dispatcher,
            liveness=self.liveness,
            pauses=self.pauses,
            broker=BrokerView(bus),
            make_facts=self._make_facts,
            settings=settings,
        )
        self.children = Children(database, settings)
        self.runs = Runs(database)
        self.demand = Demand(database, self.pauses)
        self.intake = IngressHandler(bus, self.store, self.dispatcher, self.replicas, settings)
        shard, window = settings.shard_index, settings.ingress_window
        self.door = Door(bus, self.intake, shard=shard, window=window)
        self.spill_reader = SpillReader(bus, self.intake, ingress_durable(shard), window=window)

    async def __aenter__(self) -> Self:
        asked_at = self.clock.reading()
        self.clock.set(await self.store.read_clock(), asked_at=asked_at)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._publisher.news.close()
        self.playbooks.close()
        await self.store.close()

    def _build_dispatcher(self) -> Dispatcher:
        return Dispatcher(
            turn_inputs=self._settings.turn_inputs,
            inputs_per_execution=self._settings.turn_inputs_per_execution,
            is_slow=lambda one: self._costs.has_slow(one.execution_id, one.message),
        )

    def _build_turns(self, rows: OutboxRows, after_commit: AfterCommit, starts: Starts) -> Turns:
        store, cache, settings = self.store, self.cache, self._settings
        child_cancels = ChildCancels(store, rows, after_commit)
        return Turns(
            TurnParts(
                store=store,
                clock=self.clock,
                cache=cache,
                agenda=self.agenda,
                dispatcher=self.dispatcher,
                preparation=Preparation(
                    store,
                    cache,
                    self.loader,
                    self.playbooks,
                    starts,
                    pauses=self.pauses,
                ),
                decider=Decider(
                    cache,
                    self.loader,
                    self.results,
                    self._costs,
                    note_slow=self.dispatcher.note_slow,
                    settings=settings,
                ),
                encoder=Encoder(Choice(rows, self.pauses, settings), self._new_id, settings),
                child_cancels=child_cancels,
                after_commit=after_commit,
                refusals=Refusals(store, cache, rows, child_cancels, after_commit),
                make_facts=self._make_facts,
                replicas=self.replicas,
                conflict_attempts=settings.conflict_attempts,
            )
        )

    def _make_facts(self) -> Facts:
        return Facts(
            now=self.clock.now(),
            new_id=self._new_id,
            workers=self.liveness.workers,
            heard_since=self.liveness.heard_since,
            limits=self._limits,
            triggers=self.triggers.known,
        )

    @asynccontextmanager
    async def running_turns(self, service: Service | None = None) -> AsyncIterator[None]:
        """Run turns while the block lasts; everything that waits for answers must end before."""

        async def run(name: str) -> None:
            try:
                beat = service.beater(name) if service is not None else lambda: None
                await self.dispatcher.run_turns(self.turns.run, beat)
            except Exception as error:  # task supervisor: any error ends the process
                _log.error("loop_failed", loop=name, exc_info=error)
                if service is None:
                    raise
                service.fail(error)

        count = self._settings.turns_in_flight
        tasks = [asyncio.create_task(run(f"turns-{number}")) for number in range(count)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
