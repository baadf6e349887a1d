"""Logins of a cluster: users of the broker, roles of the database."""

import asyncio
import os
from typing import Annotated

import typer
from noetl_contract.documents.broker_logins import (
    DEFAULT_BUCKET,
    DEFAULT_POOLS,
    Pool,
    authorization,
)

from noetl.commands.operate import databases_of
from noetl.commands.options import DataOption
from noetl.stack.datadir import locate
from noetl.stack.errors import StackError
from noetl.stack.servers.roles import CONSOLE, ROLES, statements, with_console

_POOLS = ",".join(pool.name for pool in DEFAULT_POOLS)


def nats_users(
    *,
    pools: Annotated[
        str,
        typer.Option(
            help="Worker pools, separated by commas; `pool=durable` where workers pull from a "
            "durable of another name."
        ),
    ] = _POOLS,
    default_inbox: Annotated[
        str,
        typer.Option(help="Those of the pools whose workers can't have an inbox of their own."),
    ] = "",
    nkeys: Annotated[
        bool, typer.Option("--nkeys", help="Users log in by nkeys; variables hold the public ones.")
    ] = False,
    bucket: Annotated[
        str, typer.Option(help="Bucket of results in the broker's object store.")
    ] = DEFAULT_BUCKET,
) -> None:
    """Print the `authorization` block for nats-server: a user per service and worker pool.

    Passwords are variables, which nats-server takes from its environment: that of the user
    `worker-shared` from NATS_WORKER_SHARED_PASSWORD, its public key from NATS_WORKER_SHARED_NKEY.
    """
    others = {word.strip() for word in default_inbox.split(",")}
    from noetl_contract.documents.broker_users import broker_users  # noqa: PLC0415 -- loads slowly

    users = broker_users([_pool(word, others) for word in pools.split(",")], bucket=bucket)
    kind = "NKEY" if nkeys else "PASSWORD"
    text = authorization(users, lambda user: f"${password_variable(user, kind)}", by_key=nkeys)
    typer.echo(text, nl=False)


def db_roles(
    *,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the statements, for who runs the server.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Make the roles of the services at PostgreSQL and give them their rights; safe to repeat.

    Passwords are taken from POSTGRES_ORCHESTRATOR_PASSWORD, …_OUTBOX_…, …_PROJECTOR_… and
    …_CATALOG_PASSWORD. The login that POSTGRES_USER or NOETL_SHARDS names has to own the schema
    and, unless it is a superuser, the right to create roles.
    """
    # Loaded here: other commands need no database.
    from noetl_pg.rights import GRANT, administer  # noqa: PLC0415 -- see above

    if only_print:
        passwords = dict.fromkeys([*ROLES.values(), CONSOLE], "…")
        lines = [line for pair in statements(passwords) for line in pair]
        typer.echo("".join(f"{line};\n" for line in [*lines, GRANT]), nl=False)
        return
    passwords = {role: _role_password(service) for service, role in ROLES.items()}
    for address in databases_of(locate(data), living=True).all:
        asyncio.run(administer(address.dsn, roles=statements(with_console(passwords))))
    typer.echo("\n".join(ROLES.values()))


def _role_password(service: str) -> str:
    variable = f"POSTGRES_{service.upper()}_PASSWORD"
    password = os.environ.get(variable, "")
    if not password:
        raise StackError(f"{variable} has to be set: the password of {ROLES[service]}")
    return password


def password_variable(user: str, kind: str = "PASSWORD") -> str:
    """Return the name of the variable with the password of a user, or of another kind."""
    return f"NATS_{user.upper().replace('-', '_')}_{kind}"


def _pool(word: str, others: set[str]) -> Pool:
    name, _, durable = word.strip().partition("=")
    return Pool(name, durable=durable or None, default_inbox=name in others)
