"""`nats-users`: the users of a cluster's broker, as its configuration declares them."""

from typing import Annotated

import typer
from noetl_contract.documents.broker_users import (
    DEFAULT_BUCKET,
    DEFAULT_POOLS,
    Pool,
    authorization,
    broker_users,
)

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
    library_inbox: Annotated[
        str,
        typer.Option(help="Those of the pools whose workers can't have an inbox of their own."),
    ] = "",
    bucket: Annotated[
        str, typer.Option(help="Bucket of results in the broker's object store.")
    ] = DEFAULT_BUCKET,
) -> None:
    """Print the `authorization` block for nats-server: a user per service and worker pool.

    Passwords are variables, which nats-server takes from its environment: that of the user
    `worker-shared` from NATS_WORKER_SHARED_PASSWORD.
    """
    others = {word.strip() for word in library_inbox.split(",")}
    users = broker_users([_pool(word, others) for word in pools.split(",")], bucket=bucket)
    typer.echo(authorization(users, lambda user: f"${password_variable(user)}"), nl=False)


def password_variable(user: str) -> str:
    """Return the name of the variable with the password of a user."""
    return f"NATS_{user.upper().replace('-', '_')}_PASSWORD"


def _pool(word: str, others: set[str]) -> Pool:
    name, _, durable = word.strip().partition("=")
    return Pool(name, durable=durable or None, library_inbox=name in others)
