"""Rotation: data keys of stored secrets wrapped by the current key, in batches."""

from dataclasses import asdict, dataclass
from itertools import product
from time import monotonic

from noetl_common import metrics
from noetl_common.crypto.errors import DecryptionFailed, NotAnEnvelope, WrongProvider
from noetl_common.errors import NoetlError, Transient
from noetl_common.logging import get_logger
from noetl_contract.http.secrets.keychain import RotateSlice

from noetl_catalog.secrets.keys.box import SecretBox, row_of
from noetl_catalog.secrets.store import SecretStore, Table

_FIRST: dict[Table, str] = {"credential": str(-(1 << 63)), "keychain": ""}
_ROTATED = metrics.counter(
    "noetl_wallet_rotate_total",
    "Key rotation",
    ["table", "status"],
    zeros=product(
        ("credential", "keychain"),
        ("rewrapped", "skipped", "parse_error", "failed_unwrap", "failed"),
    ),
)
_log = get_logger()


@dataclass(slots=True)
class _Slice:
    """Counts of one slice, and the record after which the next slice begins."""

    after: str
    processed: int = 0
    rewrapped: int = 0
    skipped: int = 0
    failed: int = 0
    batches: int = 0
    done: bool = False


class KeyRotation:
    """A walk through a table in order of its key; repeating it changes nothing.

    Records stay readable all the time: the earlier key is still configured, and a record is
    replaced only as it was read, so that no newer secret is overwritten.
    """

    def __init__(self, store: SecretStore, *, box: SecretBox) -> None:
        self._store = store
        self._box = box

    async def rotate(
        self, table: Table, *, after: str, batch_size: int, max_batches: int, seconds: float
    ) -> RotateSlice:
        """Rotate until the number of batches or the time is used up.

        Raises:
            Transient: the database or the key manager does not answer.
        """
        work = _Slice(after or _FIRST[table])
        end = monotonic() + seconds
        while not work.done and work.batches < max_batches:
            page = await self._store.page_records(table, after=work.after, limit=batch_size)
            taken = await self._rotate_page(table, page, work, end)
            work.batches += 1
            work.done = taken == len(page) < batch_size
            if monotonic() >= end:
                break
        is_number = table == "credential" and work.processed > 0
        return RotateSlice(last_id=int(work.after) if is_number else 0, **asdict(work))

    async def _rotate_page(
        self, table: Table, page: list[tuple[str, str, str]], work: _Slice, end: float
    ) -> int:
        """Rotate records while there is time, at least one; return how many."""
        changes: list[tuple[str, str, str]] = []
        taken = 0
        for key, name, text in page:
            if taken and monotonic() >= end:
                break
            taken += 1
            status, rewrapped = await self._rewrap(table, key, text, row=row_of(table, name))
            if rewrapped is None:
                self._count(table, status, work)
            else:
                changes.append((key, text, rewrapped))
        written = await self._store.rewrap_records(table, changes) if changes else frozenset()
        for key, _, _ in changes:
            # A newer secret was stored meanwhile, under the key of that moment.
            self._count(table, "rewrapped" if key in written else "skipped", work)
        if taken:
            work.after = page[taken - 1][0]
        return taken

    async def _rewrap(
        self, table: Table, key: str, text: str, *, row: str
    ) -> tuple[str, str | None]:
        try:
            rewrapped = await self._box.rewrap(text, row=row)
        except Transient:
            raise
        except NotAnEnvelope as error:
            status, problem = "parse_error", error.message
        except (DecryptionFailed, WrongProvider) as error:
            status, problem = "failed_unwrap", error.message
        except NoetlError as error:
            status, problem = "failed", error.message
        else:
            return "skipped", rewrapped
        _log.warning("record_not_rotated", table=table, record=key, error=problem)
        return status, None

    def _count(self, table: Table, status: str, work: _Slice) -> None:
        _ROTATED.labels(table, status).inc()
        work.processed += 1
        match status:
            case "rewrapped":
                work.rewrapped += 1
            case "skipped":
                work.skipped += 1
            case _:
                work.failed += 1
