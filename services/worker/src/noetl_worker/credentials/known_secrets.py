"""Secrets given to the tools of an execution, to be masked in their output."""

from collections import OrderedDict
from collections.abc import Iterable

from noetl_worker.redaction import spellings_of


class KnownSecrets:
    """Remember secrets by execution; old executions are dropped, each has a bound.

    Per execution, because every output is searched for every secret: the cost of a command must
    not grow with what other executions use.
    """

    def __init__(
        self, *, always: Iterable[str] = (), most: int = 1024, most_each: int = 256
    ) -> None:
        self._always = tuple(spellings_of(*always))
        self._most = most
        self._most_each = most_each
        self._known: OrderedDict[int, tuple[str, ...]] = OrderedDict()

    def learn(self, execution_id: int, secrets: Iterable[str]) -> None:
        """Remember secrets of an execution in all spellings they may be put out in."""
        known = self._known.pop(execution_id, ())
        fresh = [text for text in spellings_of(*secrets) if text not in known]
        # The newest are kept; the longest is masked first, as one may be part of another.
        kept = sorted((*fresh, *known)[: self._most_each], key=len, reverse=True)
        self._known[execution_id] = tuple(kept)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def of(self, execution_id: int) -> tuple[str, ...]:
        """Return the secrets to mask in the output of an execution."""
        known = self._known.get(execution_id)
        if known is None:
            return self._always
        self._known.move_to_end(execution_id)
        return (*known, *self._always)
