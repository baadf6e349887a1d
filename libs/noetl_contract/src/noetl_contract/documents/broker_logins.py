"""Names and rights of the broker's users, as a configuration of the broker has them.

Which rights they are is computed in `noetl_contract.documents.broker_users`, from all that is
declared: that takes long to load, which what only names a user need not do.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from noetl_contract.subjects import pool_segment

OPERATOR = "noetl"
"""User with all rights: for operators, and deployments with one login."""
SERVICES = ("api-gateway", "orchestrator", "outbox", "projector", "catalog")
DEFAULT_BUCKET = "noetl_results"


@dataclass(frozen=True, slots=True)
class BrokerUser:
    """A login, and the subjects it may publish to and subscribe to; nothing else."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def pool_token(pool: str) -> str:
    """Return the part of a pool's name in subjects, durables and users."""
    return pool_segment(execution_pool=pool, playbook_path=None)


def worker_user(pool: str) -> str:
    """Return the name of the user of a pool's workers."""
    return f"worker-{pool_token(pool)}"


@dataclass(frozen=True, slots=True)
class Pool:
    """A worker pool whose workers get a login.

    Attributes:
        name: as playbooks name it.
        durable: that its workers pull from, if it is not the one our workers use.
        default_inbox: whether the workers have the inbox of their client library, as those of
            another make do, and not one named after their user.
    """

    name: str
    durable: str | None = None
    default_inbox: bool = False


DEFAULT_POOLS = (Pool("shared"), Pool("system"), Pool("subscription"))


def authorization(
    users: Sequence[BrokerUser], password: Callable[[str], str], *, by_key: bool = False
) -> str:
    """Return the block of a nats-server configuration that declares users.

    Args:
        users: as `broker_users` makes them.
        password: what stands for the password of the user of a name: a quoted text, or a variable
            as ``$PASSWORD``.
        by_key: whether users log in by an nkey; then it is the public key that stands there.
    """
    lines = ["authorization {", "  users: ["]
    for user in users:
        lines += [
            "    {",
            f"      nkey: {password(user.name)}"
            if by_key
            else f"      user: {json.dumps(user.name)}, password: {password(user.name)}",
            "      permissions {",
            f"        publish: {{ allow: [{_listed(user.publish)}] }}",
            f"        subscribe: {{ allow: [{_listed(user.subscribe)}] }}",
            "      }",
            "    }",
        ]
    return "\n".join([*lines, "  ]", "}", ""])


def _listed(subjects: Iterable[str]) -> str:
    return ", ".join(json.dumps(subject) for subject in subjects)
