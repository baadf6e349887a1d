"""The services behind a pooler in transaction mode: ``make pooler``.

As `rehearsal.py` does it, with PgBouncer between the services and PostgreSQL: the chart's
`postgres.host` is the pooler, `postgres.adminHost` the server itself, which the migration goes to.
Secrets are files. A playbook runs, the pool of system playbooks cleans up, the SQL route answers;
then the pooler is asked what came by.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pooler import Between, NoPoolerError, Pooler
from rehearsal import Cluster, ask, rehearse, servers


def say(line: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def sql_route(cluster: Cluster) -> str:
    """Ask the SQL route for something that only the right path of names finds."""
    key = cluster.secrets["noetl-catalog"]["access-keys"].partition("=")[2]
    body = {"query": "SELECT count(*) AS executions FROM execution", "schema": "noetl"}
    answer = json.loads(ask(f"{cluster.edge}/api/postgres/execute", token=key, body=body))
    return json.dumps(answer)


def came_by(pooler: Pooler, connections: int) -> Iterator[str]:
    """Report the connections that the pooler has seen.

    Raises:
        RuntimeError: nothing, or more connections to the server than it may have.
    """
    servers_of: dict[tuple[str, str], int] = {}
    for row in pooler.show("SERVERS"):
        place = (row[1], row[2])
        servers_of[place] = servers_of.get(place, 0) + 1
    clients = len(pooler.show("CLIENTS"))
    if not servers_of or max(servers_of.values()) > connections:
        raise RuntimeError(f"connections to the server by login and database: {servers_of}")
    yield (
        f"pooler: {clients} clients on {sum(servers_of.values())} connections to the server, "
        f"at most {max(servers_of.values())} for one login and database"
    )
    totals = [row for row in pooler.show("TOTALS") if "count" in row[0]]
    yield f"pooler: {', '.join(f'{row[0]} {row[1]}' for row in totals)}"


def main() -> int:
    """Rehearse and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=4, help="to the server, a login each")
    parser.add_argument("--prepared", type=int, default=200, help="the pooler's statements")
    parser.add_argument("--cache", type=int, default=100, help="statements of a service")
    options = parser.parse_args()
    # The other rehearsals have secrets in variables.
    values = {"workerPool": {"enabled": True}, "secrets": {"asFiles": True}}
    between = Between(options.connections, options.prepared, options.cache)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            servers(Path(folder), values, between) as cluster,
        ):
            for line in rehearse(cluster):
                say(line)
                if "demand under" in line:  # the last before all get SIGTERM
                    for more in figures_of(cluster, between):
                        say(more)
    except NoPoolerError as error:
        say(f"NOT SHOWN: {error}")
        return 1
    return 0


def figures_of(cluster: Cluster, between: Between) -> Iterator[str]:
    """Report the figures of the SQL route and the pooler, while everything runs."""
    yield f"SQL route: {sql_route(cluster)}"
    if between.pooler is not None:
        yield from came_by(between.pooler, between.connections)


if __name__ == "__main__":
    sys.exit(main())
