"""Starts a whole stack, keeps it running, stops it in good order."""

import asyncio
import errno
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from noetl_common.errors import NoetlError

from noetl.stack import leftovers, services
from noetl.stack.child import Ailment, Child, ChildSpec, ChildState
from noetl.stack.datadir import DEFAULT_PORT, DataDirectory, Identity, ServiceState, StackState
from noetl.stack.errors import StackError
from noetl.stack.http_probe import probe_context, status_of
from noetl.stack.logs import run_log_limits, tail
from noetl.stack.process import trouble_with_port, with_parent_death
from noetl.stack.servers import migrations
from noetl.stack.servers.access import stack_access
from noetl.stack.servers.databases import Databases, embedded_databases, embedded_server
from noetl.stack.servers.nats import NatsInstance
from noetl.stack.servers.roles import ROLES
from noetl.stack.services import EDGE, FRONT, Outside, Replica

CRASHES_THAT_MEAN_BROKEN = 8


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """Settings with which a stack is started.

    Attributes:
        data: where everything is kept.
        port: of the edge; None takes the recorded or any free one.
        host: what the edge listens on.
        replicas: processes per service, 1 where nothing is said, 0 for none.
        outside: servers that are somebody else's.
        shards: of the embedded PostgreSQL; None takes the recorded number, or one.
        migrate: whether to bring the schema up to date.
        modules: what to run as each service.
        nats_monitor: whether the embedded NATS has its HTTP monitoring on, on loopback.
    """

    data: DataDirectory
    port: int | None = DEFAULT_PORT
    host: str = "127.0.0.1"
    replicas: Mapping[str, int] = field(default_factory=dict)
    outside: Outside = field(default_factory=Outside)
    shards: int | None = None
    migrate: bool = True
    modules: Mapping[str, str] = field(default_factory=lambda: services.MODULES)
    nats_monitor: bool = False


class Supervisor:
    """A running stack; made by `running`."""

    def __init__(
        self, plan: StackPlan, identity: Identity, listener: Callable[[Child], None]
    ) -> None:
        self.plan = plan
        self._identity = identity
        self._listener = listener
        self._failure: BaseException | None = None
        self._is_migrated = False
        self._changed = asyncio.Event()
        self.access = stack_access(identity, plan.host)
        self.edge_port = self._edge_port()
        self.children: list[Child] = []
        self._nats: NatsInstance | None = None
        self.nats_url = self._plan_nats()
        self.databases = self._plan_databases()
        self.processes = services.replicas(
            plan.replicas, plan.modules, shards=len(self.databases.shards)
        )
        for replica in self.processes:
            self._plan_service(replica)
        plan.data.save_identity(identity)

    @property
    def url(self) -> str:
        """Address of the edge."""
        has_tls = services.has_tls(os.environ)
        return services.public_url(self.plan.host, self.edge_port, has_tls=has_tls)

    def nats_url_of(self, replica: Replica) -> str:
        """Return the address of the broker with the login that a process has."""
        if self._nats is None:
            return self.nats_url
        return self._nats.url_of(services.nats_user(replica.service))

    async def wait_ready(self, timeout_seconds: float) -> None:
        """Wait until the schema is there and every process says that it is ready.

        Raises:
            StackError: it isn't in time, or can't become so; the message says what is missing.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while not (self._is_migrated and self._are_ready()):
                    if self._failure is not None:
                        raise self._failure
                    self._refuse_crash_loops()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise StackError(
                f"after {timeout_seconds:.0f} s still not ready: {self._missing()}; "
                f"see noetl-server logs, or the files in {self.plan.data.logs}"
            ) from None

    def unseen_admin_key(self) -> str | None:
        """Return the key of the administrator the first time, None afterwards."""
        identity = self._identity
        if not self.access.is_on or identity.is_admin_key_shown:
            return None
        identity.is_admin_key_shown = True
        self.plan.data.save_identity(identity)
        return identity.admin_key

    def kill(self) -> None:
        """Kill every process."""
        for child in self.children:
            child.kill()

    async def stop(self) -> None:
        """Stop all: first the edge and the workers, then the other services, then the servers."""
        front = {r.name for r in self.processes if r.service in FRONT}
        back = {r.name for r in self.processes} - front
        waves = (
            [child for child in self.children if child.spec.name in front],
            [child for child in self.children if child.spec.name in back],
            [child for child in self.children if child.spec.name not in front | back],
        )
        for wave in waves:
            await asyncio.gather(*(child.stop() for child in wave))

    async def prepare_schema(self) -> None:
        """Brings the schema up to date once PostgreSQL is there."""
        try:
            if self.plan.outside.databases is None:
                await self._until_ready("postgres")
            if self.plan.migrate:
                for database in self.databases.all:
                    await _migrate(database.dsn)
                    if self.plan.outside.databases is None:
                        await _grant(database.dsn)
        except StackError as error:
            self._failure = error
        else:
            self._is_migrated = True
        self._changed.set()

    async def _until_ready(self, name: str) -> None:
        child = next(child for child in self.children if child.spec.name == name)
        while child.state is not ChildState.READY:
            self._changed.clear()
            await self._changed.wait()

    def _are_ready(self) -> bool:
        return all(child.state is ChildState.READY for child in self.children)

    def _refuse_crash_loops(self) -> None:
        for child in self.children:
            if child.restarts >= CRASHES_THAT_MEAN_BROKEN and not child.was_ready:
                raise StackError(
                    f"{child.spec.name} doesn't start: {child.trouble}\n{_end_of(child)}"
                )

    def _missing(self) -> str:
        parts = [
            f"{child.spec.name} ({child.trouble or child.state})"
            for child in self.children
            if child.state is not ChildState.READY
        ]
        return ", ".join(parts) or "the schema"

    def _edge_port(self) -> int:
        wanted = self.plan.port
        if wanted is None:
            return self.plan.data.port(self._identity, EDGE)
        trouble = trouble_with_port(wanted, self.plan.host)
        if trouble is not None and trouble.errno == errno.EADDRINUSE:
            raise StackError(f"port {wanted} is in use; choose another with --port")
        if trouble is not None:
            raise StackError(f"can't listen on {self.plan.host}:{wanted}: {trouble.strerror}")
        self._identity.ports[EDGE] = wanted
        return wanted

    def _port(self, name: str) -> int:
        return self.plan.data.port(self._identity, name)

    def _plan_nats(self) -> str:
        if self.plan.outside.nats_url is not None:
            return self.plan.outside.nats_url
        from noetl_contract.documents.broker_users import (  # noqa: PLC0415 -- loads slowly
            broker_users,
        )

        users = broker_users(services.pools())
        instance = NatsInstance(
            directory=self.plan.data.nats,
            name=self._identity.name,
            port=self._port("nats"),
            monitor_port=self._port("nats-monitor") if self.plan.nats_monitor else None,
            users=users,
            store_key=self._identity.store_key,
            passwords=self._identity.nats_passwords(user.name for user in users),
        )
        self._nats = instance

        async def is_ready(_: int) -> bool:
            return await asyncio.to_thread(instance.is_ready)

        async def ailment(_: int) -> Ailment | None:
            return await asyncio.to_thread(instance.ailment)

        self._add(
            ChildSpec(
                name="nats",
                command=instance.command,
                log=self._log("nats"),
                port=instance.port,
                prepare=instance.prepare,
                is_ready=is_ready,
                is_alive=is_ready,
                ailment=ailment,
            )
        )
        return instance.url

    def _plan_databases(self) -> Databases:
        if self.plan.outside.databases is not None:
            if self.plan.shards is not None:
                raise StackError(
                    "--shards is for the embedded PostgreSQL; NOETL_SHARDS names yours"
                )
            return self.plan.outside.databases
        recorded = self._identity.shards
        if self.plan.shards is not None and recorded not in {None, self.plan.shards}:
            raise StackError(
                f"the data in {self.plan.data.root} is divided into {recorded} shards and can't be "
                f"divided anew; use another directory with --data"
            )
        self._identity.shards = self.plan.shards or recorded or 1
        self._plan_postgres()
        return embedded_databases(self._identity)

    def _plan_postgres(self) -> None:
        instance = embedded_server(self.plan.data, self._identity)

        async def is_ready(pid: int) -> bool:
            return instance.is_ready(pid)

        self._add(
            ChildSpec(
                name="postgres",
                command=instance.command,
                log=self._log("postgres"),
                port=instance.port,
                prepare=instance.prepare,
                is_ready=is_ready,
                # The fast stop: ends sessions, writes a checkpoint.
                stop_signal=signal.SIGINT,
                stop_grace_seconds=60,
            )
        )

    def _plan_service(self, replica: Replica) -> None:
        is_edge = replica.service == EDGE and replica.name == EDGE
        port = self.edge_port if is_edge else self._port(replica.name)
        environment = services.environment_of(
            replica,
            stack=self._identity.name,
            nats_url=self.nats_url_of(replica),
            databases=self._databases_of(replica),
            http_host=self.plan.host,
            http_port=port,
            public=self.url,
            folder=self.plan.data.root,
            encryption_key=self._identity.encryption_key,
            command_key=self._identity.command_key,
            access=self.access,
        )

        host = services.reachable(self.plan.host) if is_edge else "127.0.0.1"
        tls = probe_context(os.environ) if replica.service == EDGE else None

        def answers(path: str) -> Callable[[int], Awaitable[bool]]:
            async def probe(_: int) -> bool:
                return await status_of(port, path, host=host, tls=tls) == 200

            return probe

        self._add(
            ChildSpec(
                name=replica.name,
                command=lambda: with_parent_death(replica.command(), signal_name="KILL"),
                log=self._log(replica.name),
                port=port,
                environment=environment,
                is_ready=answers("/readyz"),
                is_alive=answers("/healthz"),
            )
        )

    def _databases_of(self, replica: Replica) -> Databases:
        """Return the databases with the login that a process has."""
        role = ROLES.get(replica.service)
        if self.plan.outside.databases is not None or role is None:
            return self.databases
        return self.databases.as_role(role, self._identity.postgres_roles[role])

    def _log(self, name: str) -> Path:
        return self.plan.data.logs / f"{name}.log"

    def _add(self, spec: ChildSpec) -> None:
        self.children.append(Child(spec, self._on_change))

    def _on_change(self, child: Child) -> None:
        self._changed.set()
        self.plan.data.save_state(self.snapshot())
        self._listener(child)

    def snapshot(self) -> StackState:
        """Return the state as `noetl-server status` shows it."""
        services = [
            ServiceState(
                name=child.spec.name,
                pid=child.pid,
                birth=child.birth,
                port=child.spec.port,
                state=str(child.state),
                restarts=child.restarts,
                trouble=child.trouble,
            )
            for child in self.children
        ]
        return StackState(pid=os.getpid(), url=self.url, updated_at=time.time(), services=services)


async def _migrate(dsn: str) -> None:
    # Started here and not in the thread that waits, whose end would be the runner's as well.
    runner = migrations.start(dsn, wait_seconds=30, is_ours=True)
    try:
        await asyncio.to_thread(migrations.finish, runner)
    finally:
        runner.kill()


async def _grant(dsn: str) -> None:
    # Here, because the driver takes a tenth of a second that services start in meanwhile.
    from noetl_pg.rights import administer  # noqa: PLC0415 -- see above

    try:
        await administer(dsn)
    except NoetlError as error:
        raise StackError(error.message) from error


def _end_of(child: Child) -> str:
    return "\n".join(f"  | {line}" for line in tail(child.spec.log, lines=12))


@asynccontextmanager
async def running(
    plan: StackPlan, *, listener: Callable[[Child], None] = lambda _: None
) -> AsyncIterator[Supervisor]:
    """Run a stack during the block; drain it afterwards, kill it when the drain is cancelled.

    Raises:
        StackError: it can't be started; the message says why.
    """
    async with AsyncExitStack() as cleanup:
        cleanup.enter_context(plan.data.hold())
        await asyncio.to_thread(leftovers.clear, plan.data)
        supervisor = Supervisor(plan, plan.data.identity(), listener)
        failure: Exception | None = None
        async with asyncio.TaskGroup() as group:
            for child in supervisor.children:
                group.create_task(child.run())
            aside = [
                group.create_task(supervisor.prepare_schema()),
                group.create_task(run_log_limits(partial(plan.data.logs.glob, "*.log"))),
            ]
            try:
                yield supervisor
            except Exception as error:  # noqa: BLE001 -- the caller's; raised again after the drain, not as a group
                failure = error
            try:
                await supervisor.stop()
            finally:
                for task in aside:
                    task.cancel()
                supervisor.kill()
        if failure is not None:
            raise failure
