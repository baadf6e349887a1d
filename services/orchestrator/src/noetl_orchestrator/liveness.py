"""Which workers are alive, as the catalog knows it: the only evidence leases are judged by."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from noetl_common.bus.rpc import RpcClient
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject
from noetl_engine.inputs import WorkerSeen

__all__ = ["Liveness", "run_liveness"]

type Json = Any

_log = get_logger()
_RPC_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    workers: Mapping[str, WorkerSeen]


class Liveness:
    """The newest answer of the catalog; nobody is judged while there is none (L3).

    While heartbeats could not be heard, silence says nothing. So after each outage, and at the
    start, every worker gets the time of one full staleness to be heard again.

    Args:
        max_age_seconds: an older answer counts as none.
    """

    def __init__(
        self, *, max_age_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_age_seconds = max_age_seconds
        self._monotonic = monotonic
        self._look: _Look | None = None
        self._heard_since: datetime | None = None

    @property
    def workers(self) -> Mapping[str, WorkerSeen] | None:
        """Return what is known of each worker, or None while nobody may be judged."""
        look = self._look
        if look is None or self._monotonic() - look.at > self._max_age_seconds:
            return None
        return look.workers

    def heard(self, body: Mapping[str, Json]) -> None:
        """Take an answer of the catalog."""
        now = datetime.fromisoformat(body["now"])
        if self.workers is None or self._heard_since is None:
            self._heard_since = now
        since = self._heard_since
        workers = {name: _worker(seen) for name, seen in body["workers"].items()}
        self._look = _Look(
            self._monotonic(),
            {
                name: replace(seen, heartbeat_at=max(seen.heartbeat_at, since))
                for name, seen in workers.items()
            },
        )

    def not_heard(self) -> None:
        """The catalog gave no answer: from now on nobody is judged."""
        self._look = None


async def run_liveness(
    liveness: Liveness,
    rpc: RpcClient,
    *,
    interval_seconds: float,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Ask the catalog again and again until cancelled."""
    subject = rpc_subject("catalog", "runtime.liveness")
    was_heard = True
    while True:
        beat()
        try:
            reply = await rpc.call(subject, {}, timeout=_RPC_SECONDS)
        except NoetlError as error:
            reply = RpcReply(status=error.http_status, error=error.message)
        if reply.status == 200:
            liveness.heard(reply.body)
        else:
            liveness.not_heard()
            if was_heard:
                _log.warning("liveness_unknown", error=reply.error)
        was_heard = reply.status == 200
        await asyncio.sleep(interval_seconds)


def _worker(seen: Mapping[str, Json]) -> WorkerSeen:
    return WorkerSeen(
        heartbeat_at=_moment(seen["heartbeat_at"]) or datetime.min.replace(tzinfo=UTC),
        process_since=_moment(seen["process_since"]) or datetime.min.replace(tzinfo=UTC),
        instance=seen.get("instance"),
        deregistered_at=_moment(seen.get("deregistered_at")),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
