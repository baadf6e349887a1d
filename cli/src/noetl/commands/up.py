"""`up`: the whole stack in the foreground."""

import asyncio
import sys
import time
from typing import Annotated

import typer
from noetl_common.process.program import hide_from_scripts

from noetl.commands.options import DataOption
from noetl.stack.child import Child, ChildState
from noetl.stack.datadir import DEFAULT_PORT, locate
from noetl.stack.servers.access import TOKEN_VARIABLE
from noetl.stack.services import outside
from noetl.stack.stop_signals import stop_signals
from noetl.stack.supervisor import StackPlan, Supervisor, running

CountOption = typer.Option(min=1, max=64, help="Processes of this service.")


def up(
    *,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the HTTP edge.")
    ] = DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="Address the HTTP edge listens on.")] = "127.0.0.1",
    data: DataOption = None,
    catalogs: Annotated[int, CountOption] = 1,
    orchestrators: Annotated[int, CountOption] = 1,
    outboxes: Annotated[int, CountOption] = 1,
    workers: Annotated[int, CountOption] = 1,
    shards: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Databases of the embedded PostgreSQL; can't change later."
        ),
    ] = None,
    nats_monitor: Annotated[
        bool, typer.Option("--nats-monitor", help="NATS tells about itself over HTTP on loopback.")
    ] = False,
    ready_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds until not being ready is a failure.")
    ] = 120,
) -> None:
    """Start NATS, PostgreSQL and all services; Ctrl-C drains them.

    `NOETL_NATS_URL` and `POSTGRES_HOST`, `…_PORT`, `…_USER`, `…_PASSWORD`, `…_DB` name servers of
    your own to be used instead of the embedded ones; `NOETL_SHARDS` and `NOETL_CLUSTER_DSN` name
    several databases.
    """
    plan = StackPlan(
        data=locate(data),
        port=port,
        host=host,
        replicas={
            "catalog": catalogs,
            "orchestrator": orchestrators,
            "outbox": outboxes,
            "worker": workers,
        },
        outside=outside(),
        shards=shards,
        nats_monitor=nats_monitor,
    )
    serve(plan, ready_timeout=ready_timeout)


def serve(plan: StackPlan, *, ready_timeout: float) -> None:
    """Run a stack until SIGINT or SIGTERM."""
    hide_from_scripts()
    asyncio.run(_serve(plan, ready_timeout=ready_timeout))


async def _serve(plan: StackPlan, *, ready_timeout: float) -> None:
    began = time.monotonic()
    _say(f"starting in {plan.data.root}")
    async with stop_signals() as stop, running(plan, listener=_report) as supervisor:
        stop.on_second = supervisor.kill
        ready = asyncio.create_task(supervisor.wait_ready(ready_timeout))
        asked = asyncio.create_task(stop.event.wait())
        await asyncio.wait({ready, asked}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if ready.done():
                await ready
                _say(summary(supervisor))
                if (key := supervisor.unseen_admin_key()) is not None:
                    _say(first_login(key))
                _say(f"ready after {time.monotonic() - began:.1f} s; Ctrl-C stops")
                await asked
        finally:
            ready.cancel()
            asked.cancel()
        _say("draining")
    _say("stopped")


def summary(supervisor: Supervisor) -> str:
    """Return the addresses of all processes, on one screen."""
    rows = [(c.spec.name, f"127.0.0.1:{c.spec.port}", str(c.pid)) for c in supervisor.children]
    if supervisor.plan.outside.nats_url:
        rows.insert(0, ("nats", "as NOETL_NATS_URL says", "-"))
    if supervisor.plan.outside.databases:
        places = {f"{a.host}:{a.port}": None for a in supervisor.plan.outside.databases.all}
        rows[1:1] = [("postgres", place, "-") for place in places]
    width = max(len(name) for name, _, _ in rows)
    lines = [f"  {name:<{width}}  {where:<22}  pid {pid}" for name, where, pid in rows]
    return "\n".join(
        [
            "",
            *lines,
            "",
            f"  console    {supervisor.url}/console",
            f"  HTTP API   {supervisor.url}",
            f"  data       {supervisor.plan.data.root}",
            f"  logs       {supervisor.plan.data.logs}",
            "",
        ]
    )


def first_login(key: str) -> str:
    """Return the text about logins at a stack that others reach; its key is shown this once."""
    return "\n".join(
        [
            "  Callers must log in here. The key of an administrator, shown this once:",
            "",
            f"    export {TOKEN_VARIABLE}={key}",
            "",
            "  The command lines send it from there. Keys for others: noetl-server key create",
            "",
        ]
    )


def _report(child: Child) -> None:
    if child.state is ChildState.RESTARTING and child.was_ready:
        _say(f"{child.spec.name} {child.trouble}; restart {child.restarts}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
