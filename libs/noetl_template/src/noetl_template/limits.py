"""Limits of a single render."""

from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Final

from noetl_template.errors import LimitReached

# Number of characters that can be copied or searched for one unit of work.
_CHARS = 64
# Number of elements of a new list or map for one unit; each is a word, often with an object.
_ELEMENTS = 4
# Number of values that can be visited for one unit, while a value is printed or compared.
_VALUES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one render. The same inputs reach a limit at the same point on every machine.

    Attributes:
        max_output_chars: Maximum length of the output, and of each string in a template.
        max_work: Units of work: one per loop round, call or filter, more for large values.
        max_source_chars: Maximum length of the code of a template, without the text between tags.
        max_text_chars: Maximum length of a template with the text between tags.
        max_range: Maximum number of elements of one ``range``.
        max_elements: Maximum number of elements of one list or map that a template creates.
        max_nodes: Maximum logical size of a list or map that a template creates from others, in
            which repeated parts count each time.
    """

    max_output_chars: int = 32 * 1024 * 1024
    max_work: int = 2_000_000
    max_source_chars: int = 64 * 1024
    max_text_chars: int = 4 * 1024 * 1024
    max_range: int = 100_000
    max_elements: int = 1_000_000
    max_nodes: int = 100_000


class SharedWork:
    """Units of work that several renders share.

    Attributes:
        total: Units at the beginning.
        left: Units that are left.
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
    """Limit the work of all renders inside the block together to ``total`` units."""

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
    """Return the spent units of shared work; 0 outside of :func:`shared_work`."""
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
        """Subtract the spent work from the shared work, if work is shared."""
        shared = _SHARED.get()
        if shared is not None:
            shared.left -= min(self.limits.max_work, shared.left) - self.work_left

    def spend(self, size: int = 0) -> None:
        """Pay for one operation on ``size`` characters.

        Raises:
            LimitReached: The budget is used up.
        """
        self.work_left -= 1 + size // _CHARS
        if self.work_left < 0:
            self._refuse_work()

    def visit(self, count: int) -> None:
        """Pay for visiting ``count`` values.

        Raises:
            LimitReached: The budget is used up.
        """
        self.work_left -= 1 + count // _VALUES
        if self.work_left < 0:
            self._refuse_work()

    def make(self, count: int) -> None:
        """Pay for a list or map of ``count`` elements before it is created.

        Raises:
            LimitReached: The list or map is too large, or the budget is used up.
        """
        if count > self.limits.max_elements:
            raise LimitReached(
                f"template makes a list or map of more than {self.limits.max_elements} elements"
            )
        self.work_left -= 1 + count // _ELEMENTS
        if self.work_left < 0:
            self._refuse_work()

    def check_nodes(self, nodes: int, made: int) -> None:
        """Reject a list or map with too many values.

        Args:
            nodes: The logical size, in which repeated parts count each time.
            made: The number of values that were created, and paid for, just now. A logical size of
                twice this number is always allowed.
        """
        if nodes > self.limits.max_nodes and nodes > 2 * made:
            raise LimitReached(
                f"template makes a value of more than {self.limits.max_nodes} nested values"
            )

    def check_length(self, length: int) -> None:
        """Reject a string of ``length`` characters before it is created."""
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
