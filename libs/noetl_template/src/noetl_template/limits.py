"""Limits of a single render."""

from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Final

from noetl_template.errors import LimitReached

# One unit of work pays for so many characters that are copied or searched,
_CHARS = 64
# so many elements of a list or map that is made (a machine word and often an object each),
_ELEMENTS = 4
# or so many values that are looked at one by one while a value is printed or compared.
_VALUES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one render. The same inputs reach them at the same place on every machine.

    Attributes:
        max_output_chars: Longest text a template, or any string inside it, may become.
        max_work: Units of work: one per loop round, call or filter, more for large values.
        max_source_chars: Longest code of one template; text outside of its tags doesn't count.
        max_text_chars: Longest template with that text.
        max_range: Most elements of one ``range``.
        max_elements: Most elements of one list or map that a template makes.
        max_nodes: Most values in a list or map that a template makes out of others it made,
            those in it more than once counted each time.
    """

    max_output_chars: int = 32 * 1024 * 1024
    max_work: int = 2_000_000
    max_source_chars: int = 64 * 1024
    max_text_chars: int = 4 * 1024 * 1024
    max_range: int = 100_000
    max_elements: int = 1_000_000
    max_nodes: int = 100_000


class SharedWork:
    """Work that several renders may do together.

    Attributes:
        total: Units there were at first.
        left: Units left.
    """

    __slots__ = ("left", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.left = total

    @property
    def spent(self) -> int:
        """Units that are spent."""
        return self.total - self.left


_SHARED: Final[ContextVar[SharedWork | None]] = ContextVar("shared_work", default=None)


class shared_work:  # noqa: N801 -- used like a function, in a `with`
    """Let all renders inside have no more than ``total`` units of work together."""

    __slots__ = ("_token", "_work")

    def __init__(self, total: int) -> None:
        self._work = SharedWork(total)
        self._token: Token[SharedWork | None] | None = None

    def __enter__(self) -> SharedWork:
        self._token = _SHARED.set(self._work)
        return self._work

    def __exit__(self, *_error: object) -> None:
        if self._token is not None:
            _SHARED.reset(self._token)


def work_spent() -> int:
    """Return the units of shared work that are spent; 0 outside of :func:`shared_work`."""
    shared = _SHARED.get()
    return 0 if shared is None else shared.spent


class Budget:
    """The rest of one render's limits."""

    __slots__ = ("limits", "work_left")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        shared = _SHARED.get()
        self.work_left = limits.max_work if shared is None else min(limits.max_work, shared.left)

    def settle(self) -> None:
        """Take the work spent out of the work shared with other renders, if it is."""
        shared = _SHARED.get()
        if shared is not None:
            shared.left -= min(self.limits.max_work, shared.left) - self.work_left

    def spend(self, size: int = 0) -> None:
        """Pay for one operation on ``size`` characters.

        Raises:
            LimitReached: Nothing is left.
        """
        self.work_left -= 1 + size // _CHARS
        if self.work_left < 0:
            self._refuse_work()

    def visit(self, count: int) -> None:
        """Pay for looking at ``count`` values.

        Raises:
            LimitReached: Nothing is left.
        """
        self.work_left -= 1 + count // _VALUES
        if self.work_left < 0:
            self._refuse_work()

    def make(self, count: int) -> None:
        """Pay for a list or map of ``count`` elements before it is made.

        Raises:
            LimitReached: It is too large, or nothing is left.
        """
        if count > self.limits.max_elements:
            raise LimitReached(
                f"template makes a list or map of more than {self.limits.max_elements} elements"
            )
        self.work_left -= 1 + count // _ELEMENTS
        if self.work_left < 0:
            self._refuse_work()

    def check_nodes(self, nodes: int, made: int) -> None:
        """Refuse a list or map with more values than allowed.

        Args:
            nodes: The values in it, repeated ones counted each time.
            made: The values that were made, and paid for, just now; so many may always be in it.
        """
        if nodes > self.limits.max_nodes and nodes > 2 * made:
            raise LimitReached(
                f"template makes a value of more than {self.limits.max_nodes} nested values"
            )

    def check_length(self, length: int) -> None:
        """Refuse a string of ``length`` characters before it is built."""
        if length > self.limits.max_output_chars:
            raise LimitReached(
                f"template output is longer than {self.limits.max_output_chars} characters"
            )

    def _refuse_work(self) -> None:
        shared = _SHARED.get()
        if shared is not None and shared.left < self.limits.max_work:
            raise LimitReached(
                f"templates do too much work together (more than {shared.total} units)"
            )
        raise LimitReached(f"template does too much work (more than {self.limits.max_work} units)")
