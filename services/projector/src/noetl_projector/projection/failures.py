"""Failures, written in the transaction that moves the read model to the ends of executions."""

from collections.abc import Sequence

from noetl_contract.json import Json
from noetl_pg.database import Session

from noetl_projector.projection.fingerprint import fingerprint_of

_LONGEST_MESSAGE = 1000


async def note_failures(session: Session, execution_ids: Sequence[int]) -> None:
    """Write the failures of executions that have failed; safe to repeat.

    Their dismissals stay.
    """
    rows = await session.fetch("read_failed", list(execution_ids))
    values = [_columns(dict(row)) for row in rows]
    if values:
        columns = (list(column) for column in zip(*values, strict=True))
        await session.execute("note_failures", *columns)


def _columns(row: dict[str, Json]) -> tuple[Json, ...]:
    meta = row["meta"] if isinstance(row["meta"], dict) else {}
    cause = meta.get("cause")
    cause = cause if isinstance(cause, dict) else {}
    failed = meta.get("failed_steps")
    step = cause.get("step") or (failed[0] if isinstance(failed, list) and failed else None)
    message = str(
        cause.get("message") or row["error"] or row["event_error"] or meta.get("error") or "failed"
    )[:_LONGEST_MESSAGE]
    kind = str(cause.get("kind") or ("evaluate" if meta.get("reason") else "tool"))
    fingerprint = fingerprint_of(path=row["path"], step=step, message=message)
    return (
        row["execution_id"],
        row["path"],
        row["version"],
        step,
        kind,
        fingerprint,
        message,
        row["ended_at"],
    )
