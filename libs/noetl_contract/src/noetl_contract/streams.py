"""Streams and durables: the topology that every service creates or updates (O5)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from noetl_contract import subjects


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """The declared configuration of one JetStream stream; file storage always."""

    name: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"] = "limits"
    discard: Literal["old", "new"] = "old"
    # It outlives the token of a start: 30 s validity + 2 x 5 s clock allowance + 10 s of retries.
    duplicate_window: timedelta = timedelta(seconds=120)
    max_age: timedelta | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class DurableSpec:
    """The declared configuration of one durable pull consumer; explicit acks always.

    Attributes:
        max_waiting: requests for messages that may wait at the broker at once; further ones get no
            answer, and are repeated. The broker never changes it of an existing durable.
    """

    stream: str
    name: str
    filter_subject: str
    max_ack_pending: int
    ack_wait: timedelta = timedelta(seconds=30)
    max_deliver: int = 1000
    max_waiting: int = 512


# A full stream is an error for the publisher, not a silent loss (W6).
INGRESS = StreamSpec(
    name="noetl_ingress",
    subjects=(f"{subjects.INGRESS_ROOT}.>",),
    retention="workqueue",
    discard="new",
    max_bytes=1 << 30,
)
COMMANDS = StreamSpec(
    name="NOETL_COMMANDS",
    subjects=(subjects.COMMANDS_ROOT, f"{subjects.COMMANDS_ROOT}.>"),
    max_age=timedelta(hours=1),
)
EVENTS = StreamSpec(
    name="NOETL_EVENTS",
    subjects=(f"{subjects.EVENTS_ROOT}.>",),
    max_age=timedelta(hours=24),
    max_bytes=2 << 30,
)
# It wakes readers, who then read the log; older messages are of no use to them.
COMMITS = StreamSpec(
    name="noetl_commits",
    subjects=(f"{subjects.COMMITS_ROOT}.>",),
    max_age=timedelta(hours=1),
    max_bytes=256 << 20,
)
DEAD = StreamSpec(
    name="noetl_dead",
    subjects=(f"{subjects.DEAD_LETTERS}.>",),
    max_age=timedelta(days=7),
    max_bytes=256 << 20,
)
AUDIT = StreamSpec(
    name="noetl_audit",
    subjects=(f"{subjects.AUDIT_ROOT}.>",),
    max_age=timedelta(days=7),
    max_bytes=256 << 20,
)
# Requests and results that edges store for waiting web pages. Full, it refuses: a request that
# can't be stored is not begun.
PAGES = StreamSpec(
    name="noetl_pages",
    subjects=(f"{subjects.PAGES_ROOT}.>",),
    discard="new",
    max_age=timedelta(minutes=30),
    max_bytes=256 << 20,
)
STREAMS = (INGRESS, COMMANDS, EVENTS, COMMITS, DEAD, AUDIT)
"""Streams that every service creates at its start, or waits for."""
ALL_STREAMS = (*STREAMS, PAGES)
"""All streams; `PAGES` is created by one service only, when it needs it."""

# Subject of a purge that shows whether a stream has failed; no message has it. After a write that
# failed, for want of room on the disk, the broker refuses the purge with this code until it is
# restarted; to a publish it answers nothing.
NO_MESSAGES = "noetl_nothing.at.all"
PURGE_FAILED = 10051


def ingress_durable(shard: int) -> DurableSpec:
    """Return the orchestrators' durable of one shard (ack wait 5 s: W4)."""
    return DurableSpec(
        stream=INGRESS.name,
        name=f"orchestrator_{shard}_kinds",
        filter_subject=subjects.ingress_filter(shard),
        ack_wait=timedelta(seconds=5),
        max_ack_pending=10_000,
    )


def projector_durable(shard: int) -> DurableSpec:
    """Return the projectors' durable of one shard."""
    return DurableSpec(
        stream=COMMITS.name,
        name=f"projector_{shard}",
        filter_subject=subjects.commits_filter(shard),
        max_ack_pending=20_000,
    )


def pool_durable(pool: str) -> DurableSpec:
    """Return the workers' durable of one pool, under the name real deployments use."""
    return DurableSpec(
        stream=COMMANDS.name,
        name=f"noetl_worker_pool_{pool}",
        filter_subject=subjects.commands_filter(pool),
        max_ack_pending=10_000,
        # A worker of ours has up to five open, and a pool may have some thousand workers.
        max_waiting=20_000,
    )


def audit_durable() -> DurableSpec:
    """Return the catalog's durable of the access audit."""
    return DurableSpec(
        stream=AUDIT.name,
        name="catalog_audit",
        filter_subject=subjects.ACCESS_AUDIT,
        max_ack_pending=1000,
    )
