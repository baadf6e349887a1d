"""Limits of a single render."""

from dataclasses import dataclass

from noetl_template.errors import EvaluationError

# So many characters or elements handled at once cost one unit of work.
_UNIT_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one render. The same inputs reach them at the same place on every machine.

    Attributes:
        max_output_chars: Longest text a template, or any string inside it, may become.
        max_work: Units of work: one per loop round, call or filter, more for large values.
        max_source_chars: Longest template that is compiled at all.
        max_range: Most elements of one ``range``.
    """

    max_output_chars: int = 32 * 1024 * 1024
    max_work: int = 2_000_000
    max_source_chars: int = 4 * 1024 * 1024
    max_range: int = 100_000


class Budget:
    """The rest of one render's limits."""

    __slots__ = ("limits", "work_left")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.work_left = limits.max_work

    def spend(self, size: int = 0) -> None:
        """Pay for one operation on ``size`` characters or elements.

        Raises:
            EvaluationError: Nothing is left.
        """
        self.work_left -= 1 + size // _UNIT_SIZE
        if self.work_left < 0:
            raise EvaluationError("template does too much work")

    def check_length(self, length: int) -> None:
        """Refuse a string of ``length`` characters before it is built."""
        if length > self.limits.max_output_chars:
            raise EvaluationError(
                f"template output is longer than {self.limits.max_output_chars} characters"
            )
