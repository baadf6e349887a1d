"""Rate limits of costly requests: token buckets, kept by this process alone.

Several edges behind one address each allow the whole rate.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from noetl_contract.access.keys import API_KEY

_MOST_CLIENTS = 10_000
_KEY = re.compile(API_KEY.pattern.encode())
_JWT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


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
    """Counts failed logins by address and kind, and delays those that guess.

    Many people may have one address, a proxy's, so guesses from there keep out as few of them as
    possible: only logins of the kind that is guessed, and none that can't be guessed, such as API
    keys, of 256 random bits. A login that is tried again is no guess, so it counts once; and a
    login that has been good lately is never kept out.

    Args:
        rate: of new failures of one kind and address.
        clock: gives seconds that never go back.
        are_jwts_signed: whether a text in the form of a JWT is nothing but one, which its
            signature proves; else it may be a session's.
    """

    def __init__(
        self,
        rate: Rate,
        clock: Callable[[], float] = time.monotonic,
        *,
        are_jwts_signed: bool = False,
    ) -> None:
        self._buckets = Buckets(rate, clock)
        self._seen: OrderedDict[int, bool] = OrderedDict()
        self._forms = (_KEY, _JWT) if are_jwts_signed else (_KEY,)

    def wait(self, address: str, *tokens: bytes) -> float:
        """Return the seconds until a login may be tried; 0 for now."""
        if self._is_proof(tokens) or hash((address, tokens)) in self._seen:
            return 0.0
        return self._buckets.wait(_bucket(address, tokens))

    def note(self, address: str, *tokens: bytes, is_good: bool) -> None:
        """Note whether a login was good."""
        if self._is_proof(tokens):
            return
        key = hash((address, tokens))
        if not is_good and key not in self._seen:
            self._buckets.take(_bucket(address, tokens))
        self._seen[key] = is_good
        self._seen.move_to_end(key)
        while len(self._seen) > _MOST_CLIENTS:
            self._seen.popitem(last=False)

    def _is_proof(self, tokens: Sequence[bytes]) -> bool:
        """Return whether none of the tokens can be guessed."""
        return all(any(form.fullmatch(token) for form in self._forms) for token in tokens)


def _bucket(address: str, tokens: Sequence[bytes]) -> str:
    kind = "jwt" if all(map(_JWT.fullmatch, tokens)) else "other"
    return f"{kind}:{address}"


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
