"""Every NATS subject, built here and nowhere else.

Outside consumers read ``noetl.commands.>`` and ``noetl.events.>``. All other subjects have a
root of their own (``noetl_…``), because such a consumer ends on a body it can't parse.
"""

import re
from typing import Final, Literal

from noetl_contract.sharding import bucket_of

COMMANDS_ROOT = "noetl.commands"
EVENTS_ROOT = "noetl.events"
COMMITS_ROOT = "noetl_commits"
INGRESS_ROOT = "noetl_ingress"
WRITES_ROOT = "noetl_write"
DEAD_LETTERS = "noetl_dead"
INBOX_ROOT = "_INBOX_noetl"
AUDIT_ROOT = "noetl_audit"
ACCESS_AUDIT = f"{AUDIT_ROOT}.access"
ACCESS_HINT = "noetl_hint.access"
CONTROL_ROOT = "noetl_control"
PAUSE_HINT = "noetl_hint.pauses"
SCHEDULE_HINT = "noetl_hint.schedules"
TRIGGER_HINT = "noetl_hint.triggers"
OUTPUT_ROOT = "noetl_output"
WATCH_HINT = "noetl_hint.watch"
PAGES_ROOT = "noetl_pages"
_REPLICAS_ROOT = "noetl_hint.moved"

type IngressKind = Literal[
    "execute", "events", "cancel", "finalize", "signal", "pause", "resume", "start", "outcome"
]
"""The last token of an ingress subject; the broker's permissions of senders go by it."""
type WriteKind = IngressKind | Literal["claim"]
"""The last token of the subject of a request."""
UNSTORED_KINDS: Final[frozenset[WriteKind]] = frozenset({"claim"})
"""Never put into the stream: of no use to anybody once its sender has stopped waiting."""
URGENT_KINDS: Final[frozenset[IngressKind]] = frozenset({"cancel", "finalize", "pause", "resume"})
"""Kinds of operators' messages about an execution, handled before other work (W27)."""

_NOT_TOKEN = re.compile(r"[^A-Za-z0-9_-]+")
# A subject shares one line of 4 KiB with the reply subject; at a longer line the broker ends the
# connection.
_LONGEST_TOKEN = 128


def _token(text: str, *, empty: str) -> str:
    return _NOT_TOKEN.sub("-", text)[:_LONGEST_TOKEN].strip("-") or empty


_SHARED_POOLS = frozenset({"", "default", "shared"})
"""Names of the default pool `shared`."""


def pool_segment(*, execution_pool: str | None, playbook_path: str | None) -> str:
    """Return the pool token of a command subject.

    A pool name that is no legal token is sanitised: characters outside ``[A-Za-z0-9_-]``
    become ``-``.
    """
    if execution_pool:
        return _token(execution_pool, empty="shared")
    for pool in ("system", "subscription"):
        if (playbook_path or "").startswith(f"{pool}/"):
            return pool
    return "shared"


def pool_of_workers(name: str) -> str:
    """Return the pool from which workers with a configured pool name take commands."""
    pool = "shared" if name in _SHARED_POOLS else name
    return pool_segment(execution_pool=pool, playbook_path=None)


def command_subject(pool: str, *, execution_id: int) -> str:
    """Return ``noetl.commands.<pool>.<execution_id>``."""
    return f"{COMMANDS_ROOT}.{pool}.{execution_id}"


def commands_filter(pool: str) -> str:
    """Return the filter of a pool's durable."""
    return f"{COMMANDS_ROOT}.{pool}.>"


def event_subject(
    execution_id: int, *, shard: int, tenant: str = "default", organization: str = "default"
) -> str:
    """Return ``noetl.events.<tenant>.<organization>.<execution_id>.<shard>``."""
    tenant_token = _token(tenant, empty="default")
    organization_token = _token(organization, empty="default")
    return f"{EVENTS_ROOT}.{tenant_token}.{organization_token}.{execution_id}.{shard}"


def events_filter() -> str:
    """Return the pattern of the events of all executions, which a login may subscribe to."""
    return f"{EVENTS_ROOT}.*.*.*.*"


def commit_subject(execution_id: int, *, shard: int) -> str:
    """Return ``noetl_commits.<shard>.<execution_id>``."""
    return f"{COMMITS_ROOT}.{shard}.{execution_id}"


def commits_filter(shard: int) -> str:
    """Return the filter of a shard's commits."""
    return f"{COMMITS_ROOT}.{shard}.*"


def commits_of_execution_filter(execution_id: int) -> str:
    """Return the filter for the commits of one execution, whatever its shard."""
    return f"{COMMITS_ROOT}.*.{execution_id}"


def ingress_subject(shard: int, *, execution_id: int, kind: WriteKind) -> str:
    """Return ``noetl_ingress.<shard>.<execution_id>.<kind>``."""
    return f"{INGRESS_ROOT}.{shard}.{execution_id}.{kind}"


def write_subject(shard: int, *, execution_id: int, kind: WriteKind) -> str:
    """Return ``noetl_write.<shard>.<bucket>.<execution_id>.<kind>``."""
    return f"{WRITES_ROOT}.{shard}.{bucket_of(execution_id)}.{execution_id}.{kind}"


def ingress_of_write(subject: str) -> str:
    """Return the ingress subject of a requested write."""
    _, shard, _, execution_id, kind = subject.split(".")
    return f"{INGRESS_ROOT}.{shard}.{execution_id}.{kind}"


def writes_of_bucket(shard: int, bucket: int) -> str:
    """Return the pattern of the writes that are requested of the owner of a bucket."""
    return f"{WRITES_ROOT}.{shard}.{bucket}.*.*"


def writes_any(kind: WriteKind) -> str:
    """Return the pattern of requested writes of one kind on all shards."""
    return f"{WRITES_ROOT}.*.*.*.{kind}"


def ingress_any(kind: IngressKind) -> str:
    """Return the pattern of one kind on all shards."""
    return f"{INGRESS_ROOT}.*.*.{kind}"


def ingress_filter(shard: int) -> str:
    """Return the filter of a shard's ingress durable.

    It matches every subject of the shard, so that a message with a malformed subject becomes a
    dead letter instead of staying in the stream.
    """
    return f"{INGRESS_ROOT}.{shard}.>"


def dead_letter_subject(origin: str) -> str:
    """Return the dead-letter subject of a stream or consumer."""
    return f"{DEAD_LETTERS}.{_token(origin, empty='unknown')}"


def published_subject(shard: int, *, outbox_id: int, message_id: str) -> str:
    """Return the subject of the broker's acknowledgement of a row's message to the relay."""
    return f"noetl_hint.published.{shard}.{outbox_id}.{message_id}"


def published_filter(shard: int) -> str:
    """Return the pattern of `published_subject` for all rows of a shard."""
    return f"noetl_hint.published.{shard}.*.*"


def published_row(subject: str) -> tuple[int, str]:
    """Return the ids of the row and of its message in a `published_subject`."""
    _, _, _, outbox_id, message_id = subject.split(".")
    return int(outbox_id), message_id


def replica_moves_subject(shard: int) -> str:
    """Return the subject of orchestrators' hints about their commits; they may be lost."""
    return f"{_REPLICAS_ROOT}.{shard}"


def replica_subject(name: str) -> str:
    """Return the subject of one orchestrator, by whose subscription others notice its end."""
    return f"{_REPLICAS_ROOT}.to-{name}"


def control_subject(pool: str) -> str:
    """Return the subject of hints to a pool's workers about runs that are over; may be lost."""
    return f"{CONTROL_ROOT}.{pool}"


def output_subject(execution_id: int) -> str:
    """Return the subject of the lines that steps of an execution print; they may be lost."""
    return f"{OUTPUT_ROOT}.{execution_id}"


def page_subject(
    client_id: str, *, request_id: str, execution_id: int, kind: Literal["request", "result"]
) -> str:
    """Return the subject of a request of a page, or of its result; both ids are tokens."""
    return f"{PAGES_ROOT}.{client_id}.{request_id}.{execution_id}.{kind}"


def pages_of_client(client_id: str) -> str:
    """Return the pattern of all messages stored for one page."""
    return f"{PAGES_ROOT}.{client_id}.*.*.*"


def page_request_of(request_id: str) -> str:
    """Return the pattern of one request, whichever page has made it."""
    return f"{PAGES_ROOT}.*.{request_id}.*.request"


def page_result_of(request_id: str) -> str:
    """Return the pattern of the result of one request."""
    return f"{PAGES_ROOT}.*.{request_id}.*.result"


def page_hint_subject(client_id: str) -> str:
    """Return the subject of hints to the stream of a page about its requests; may be lost."""
    return f"noetl_hint.page.{client_id}"


def rpc_subject(service: str, operation: str, *, shard: int | None = None) -> str:
    """Return the request/reply subject of an operation, of one shard where it matters."""
    place = "cluster" if shard is None else str(shard)
    return f"noetl_rpc.{service}.{place}.{operation}"


def inbox_prefix(user: str) -> str:
    """Return the beginning of the inbox subjects of a user of the broker."""
    return f"{INBOX_ROOT}.{_token(user, empty='nobody')}"


def family(subject: str) -> str:
    """Return a subject's family: the fixed part, for metric labels, span names and rights."""
    head, _, rest = subject.partition(".")
    if head == "noetl":
        return f"noetl.{rest.partition('.')[0]}"
    if head == "noetl_rpc":
        parts = subject.split(".", 3)
        return f"{head}.{parts[1]}.{parts[3]}" if len(parts) == 4 else head
    if head == WRITES_ROOT:
        return f"{head}.{rest.rpartition('.')[2]}"  # each kind is a right of its own
    return head
