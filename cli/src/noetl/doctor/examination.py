"""Look at everything that is known of a system, side by side where nothing depends on it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from noetl_common.errors import NoetlError
from noetl_pg.errors import DatabaseUnavailable
from noetl_pg.single import DatabaseUnreadable

from noetl.doctor.broker import look_at_broker
from noetl.doctor.databases import (
    Demand,
    Place,
    Roll,
    look_at_database,
    look_at_pools,
    notes_on_pauses,
    read_roll,
)
from noetl.doctor.edge import look_at_edge
from noetl.doctor.finding import Finding, Report
from noetl.doctor.services import look_at_services
from noetl.stack.datadir import ServiceState
from noetl.stack.servers.databases import Databases
from noetl.stack.servers.topology import BrokerUnreachable, connected

_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A system to examine; a part that is None can't be looked at.

    Attributes:
        processes: of a local stack.
        url: of its edge.
        token: what the edge is shown.
        nats_url: of its broker, with a login that may ask services.
        databases: with a login that may read.
        newest_migration: the schema that this release needs.
        stuck_after: for how long nothing may be open of an execution that runs.
    """

    processes: Sequence[ServiceState] | None
    url: str | None
    token: str
    nats_url: str | None
    databases: Databases | None
    newest_migration: str
    stuck_after: timedelta


async def examine(patient: Patient) -> Report:
    """Look at processes, edge, broker, services and databases."""
    report = Report()
    if patient.processes:
        report.add("processes", _processes(patient.processes))
    await asyncio.gather(
        _edge(patient, report), _broker(patient, report), _databases(patient, report)
    )
    return report


def _processes(processes: Sequence[ServiceState]) -> list[Finding]:
    return [
        Finding(
            "process_down",
            one["name"],
            f"{one['name']} is {one['state']}" + (f": {one['trouble']}" if one["trouble"] else ""),
        )
        for one in processes
        if one["state"] != "ready"
    ]


async def _edge(patient: Patient, report: Report) -> None:
    if patient.url is None:
        report.left_out["edge"] = "its address is not known: --server-url names it"
        return
    report.add("edge", await asyncio.to_thread(look_at_edge, patient.url, token=patient.token))


async def _broker(patient: Patient, report: Report) -> None:
    if patient.nats_url is None:
        for what in ("broker", "services"):
            report.left_out[what] = "the broker is not known: set NOETL_NATS_URL"
        return
    shards = 1 if patient.databases is None else len(patient.databases.shards)
    try:
        async with connected(
            patient.nats_url, name="noetl-server doctor", seconds=_CONNECT_SECONDS
        ) as bus:
            report.add("broker", await look_at_broker(bus, shards=shards))
            report.add("services", await look_at_services(bus, shards=shards))
    except (BrokerUnreachable, NoetlError) as error:
        finding = Finding("broker_unreachable", "NATS", f"NATS: {error}")
        report.add("broker", [finding])
        if "services" not in report.looked_at:
            report.left_out["services"] = "they are asked over the broker"


async def _databases(patient: Patient, report: Report) -> None:
    if patient.databases is None:
        for what in ("databases", "pools"):
            report.left_out[what] = "they are not known: set POSTGRES_HOST or NOETL_SHARDS"
        return
    demand: dict[str, Demand] = {}
    roll = Roll()
    try:
        roll = await read_roll(patient.databases.cluster)
    except (DatabaseUnavailable, DatabaseUnreadable) as error:
        report.left_out["pools"] = error.message
    looks = [
        look_at_database(
            place,
            newest_migration=patient.newest_migration,
            stuck_after=patient.stuck_after,
            roll=roll,
            demand=demand,
        )
        for place in _places(patient.databases)
    ]
    for findings in await asyncio.gather(*looks):
        report.add("database", findings)
    if "pools" not in report.left_out:
        report.add("pools", look_at_pools(roll, demand))
        report.notes += notes_on_pauses(roll, demand)


def _places(databases: Databases) -> list[Place]:
    count = len(databases.shards)
    places = [Place(one, number, count) for number, one in enumerate(databases.shards)]
    if databases.cluster not in databases.shards:
        places.append(Place(databases.cluster, None, count))
    return places
