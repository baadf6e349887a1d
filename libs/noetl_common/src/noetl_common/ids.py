"""Snowflake ids (S1)."""

import hashlib
from time import monotonic

from noetl_contract.sharding import shard_for

from noetl_common.clock import Clock, unix_ms
from noetl_common.errors import NotMinting

EPOCH_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z, from which the milliseconds in ids are counted."""
_MACHINE_BITS = 10
_SEQUENCE_BITS = 12
_LAST_SEQUENCE = (1 << _SEQUENCE_BITS) - 1


class SnowflakeIds:
    """Generates ids that only grow within a process, whatever the clock does.

    If the sequence of a millisecond is used up, or the clock stands still or goes back, the
    generator advances its own millisecond instead of waiting.
    """

    def __init__(self, machine_id: int, clock: Clock = unix_ms, *, above_ms: int = 0) -> None:
        """Create a generator of ids above the Unix millisecond ``above_ms``."""
        self._clock = clock
        self._machine = 0
        self._last = -1
        self._sequence = _LAST_SEQUENCE
        self._forbidden: str | None = None
        self._until: float | None = None
        self._most_ms: int | None = None
        self.use_machine(machine_id, above_ms=above_ms)

    @property
    def machine_id(self) -> int:
        """The machine id that new ids contain."""
        return self._machine >> _SEQUENCE_BITS

    @property
    def high_water_ms(self) -> int:
        """The Unix millisecond of the newest id; the next holder of the machine id starts above."""
        return self._last + EPOCH_MS

    @property
    def is_minting(self) -> bool:
        """Whether ids can be generated now."""
        return self._obstacle() is None

    async def is_ready(self) -> bool:
        """Readiness check."""
        return self.is_minting

    def next(self) -> int:
        """Return a new id, larger than every id before it.

        Raises:
            NotMinting: the lease or the clock is in doubt.
        """
        if self._until is not None or self._forbidden is not None:
            self._check()
        now = self._clock() - EPOCH_MS
        if now > self._last:
            self._last = now
            self._sequence = 0
        elif now < 0:
            raise NotMinting(reason="the clock is before 2024")
        elif self._sequence < _LAST_SEQUENCE:
            self._sequence += 1
        else:
            self._last += 1
            self._sequence = 0
        if self._most_ms is not None and self._last > self._most_ms:
            raise NotMinting(reason="the time reserved with the lease is used up")
        return (self._last << (_MACHINE_BITS + _SEQUENCE_BITS)) | self._machine | self._sequence

    def use_machine(self, machine_id: int, *, above_ms: int) -> None:
        """Continue with a machine id, above its last holder's high water and all earlier ids."""
        if not 0 <= machine_id < 1 << _MACHINE_BITS:
            raise ValueError(f"a machine id is 0 to 1023, not {machine_id}")
        self._machine = machine_id << _SEQUENCE_BITS
        last = max(self._last, above_ms - EPOCH_MS)
        if last > self._last:
            # The sequence counts as used up, so that the next id is in a later millisecond.
            self._last = last
            self._sequence = _LAST_SEQUENCE

    def allow(self, *, until: float, up_to_ms: int) -> None:
        """Allow ids until ``monotonic()`` reaches ``until``, in milliseconds up to ``up_to_ms``."""
        self._forbidden = None
        self._until = until
        self._most_ms = up_to_ms - EPOCH_MS

    def forbid(self, reason: str) -> None:
        """Generate no ids until `allow` is called."""
        self._forbidden = reason

    def _obstacle(self) -> str | None:
        if self._forbidden is not None:
            return self._forbidden
        if self._until is not None and monotonic() >= self._until:
            return "the lease of the machine id could not be renewed"
        return None

    def _check(self) -> None:
        obstacle = self._obstacle()
        if obstacle is not None:
            raise NotMinting(reason=obstacle)


def time_of_id_ms(identifier: int) -> int:
    """Return the Unix millisecond in an id."""
    return (identifier >> (_MACHINE_BITS + _SEQUENCE_BITS)) + EPOCH_MS


def shard_of_name(name: str, *, shard_count: int) -> int:
    """Return the shard of a name, by its hash."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) % max(shard_count, 1)


def mint_on_shard_of(ids: SnowflakeIds, name: str, *, shard_count: int) -> int:
    """Generate an id on the shard of a name."""
    return _mint_on(ids, shard_of_name(name, shard_count=shard_count), shard_count=shard_count)


def mint_beside(ids: SnowflakeIds, execution_id: int, *, shard_count: int) -> int:
    """Generate an id on the shard of an execution."""
    shard = shard_for(execution_id, shard_count=shard_count)
    return _mint_on(ids, shard, shard_count=shard_count)


def _mint_on(ids: SnowflakeIds, shard: int, *, shard_count: int) -> int:
    # An id belongs to a shard by its hash, so a few attempts find one on each shard.
    while shard_for(identifier := ids.next(), shard_count=shard_count) != shard:
        pass
    return identifier
