"""Rate limits of costly requests: token buckets, kept by this process alone.

Several edges behind one address each allow the whole rate.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_MOST_CLIENTS = 10_000
# At least 128 bits where the characters are random, as in API keys, JWTs and session ids.
_RANDOM = re.compile(rb"[A-Za-z0-9_.~+/=-]{32,}")


@dataclass(frozen=True, slots=True)
class Rate:
    """Size of a token bucket, and the rate at which it fills.

    Attributes:
        per_second: tokens that come in a second.
        burst: tokens at most.
    """

    per_second: float
    burst: float


class Buckets:
    """The buckets of one kind of work, one for each client; the longest unused are forgotten.

    Args:
        rate: of each client.
        clock: gives seconds that never go back.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Return the seconds until a client has a token; 0 when it has one."""
        return max(0.0, (1 - self._tokens(client)) / self._rate.per_second)

    def take(self, client: str, count: int = 1) -> None:
        """Take tokens, if need be in advance: a batch is not split."""
        self._left[client] = (self._tokens(client) - count, self._clock())
        self._left.move_to_end(client)
        while len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)

    def _tokens(self, client: str) -> float:
        entry = self._left.get(client)
        if entry is None:
            return self._rate.burst
        left, at = entry
        grown = (self._clock() - at) * self._rate.per_second
        return min(self._rate.burst, left + grown)


class FailedLogins:
    """Counts failed logins by address, and delays those that guess.

    Many people may have one address, a proxy's, so failures from there keep out as few of them as
    possible: no login that is too long to be guessed, as API keys, JWTs and the ids of sessions
    are. A login that is tried again is no guess, so it counts once; and a login that has been
    good lately is never kept out.

    Args:
        rate: of new failures of one address.
        clock: gives seconds that never go back.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = Buckets(rate, clock)
        self._seen: OrderedDict[int, bool] = OrderedDict()

    def wait(self, address: str, *tokens: bytes) -> float:
        """Return the seconds until a login may be tried; 0 for now."""
        if _is_proof(tokens) or hash((address, tokens)) in self._seen:
            return 0.0
        return self._buckets.wait(address)

    def note(self, address: str, *tokens: bytes, is_good: bool) -> None:
        """Note whether a login was good."""
        if _is_proof(tokens):
            return
        key = hash((address, tokens))
        if not is_good and key not in self._seen:
            self._buckets.take(address)
        self._seen[key] = is_good
        self._seen.move_to_end(key)
        while len(self._seen) > _MOST_CLIENTS:
            self._seen.popitem(last=False)


def _is_proof(tokens: Sequence[bytes]) -> bool:
    """Return whether none of the tokens can be guessed."""
    return all(map(_RANDOM.fullmatch, tokens))


def parsed_rates(text: str) -> Mapping[str, Rate]:
    """Read rates: `starts 50/s 500, logins 5/min 10`: kind, tokens, burst.

    Raises:
        ValueError: an entry has another form.
    """
    found: dict[str, Rate] = {}
    for entry in filter(None, (one.strip() for one in text.split(","))):
        try:
            kind, speed, burst = entry.split()
            count, _, unit = speed.partition("/")
            rate = Rate(float(count) / {"s": 1, "min": 60}[unit], float(burst))
        except (ValueError, KeyError) as error:
            raise ValueError(f"`{entry}` is no rate like `starts 50/s 500`") from error
        if not (rate.per_second > 0 and rate.burst >= 1):
            raise ValueError(f"`{entry}` allows nothing")
        found[kind] = rate
    return found
