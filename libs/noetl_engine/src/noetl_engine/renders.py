"""Results of a decision's templates, kept so that its work may take several turns (W28)."""

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Self

from noetl_template import TemplateLimitError, shared_work, work_spent

from noetl_engine.errors import EngineError

_PARTS = 10
_WORTH_KEEPING = 100


class MoreWork(EngineError):
    """A decision has more templates than there is work for in one turn.

    The execution has moved on in memory and is worthless. Restored, it decides on the same input
    with these renders, and goes on where it stood.
    """

    def __init__(self, renders: "Renders") -> None:
        super().__init__("the templates of the decision go on in the next turn")
        self.renders = renders


class Renders:
    """The renders of one decision, in their order; those that cost much are kept.

    As a context manager it bounds what is rendered inside: each template, and all of them in one
    try, by ``limit`` units, and all tries together by ten times as many.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[object, Any, int]] = {}
        self._limit = self._count = self._earlier = self._kept_before = 0
        self._position = 0
        self._shared: shared_work | None = None
        self._token: Token[Renders | None] | None = None

    def within(self, limit: int, *, position: int = 0) -> Self:
        """Begin a try with so many units; results rendered at another position are void."""
        if position != self._position:
            self._kept.clear()
            self._position = position
        self._limit, self._count, self._earlier = limit, 0, 0
        self._kept_before = len(self._kept)
        self._shared = shared_work(limit)
        return self

    def __enter__(self) -> Self:
        if self._shared is not None:
            self._shared.__enter__()
        self._token = _CURRENT.set(self)
        return self

    def __exit__(self, *error: object) -> None:
        if self._token is not None:
            _CURRENT.reset(self._token)
        if self._shared is not None:
            self._shared.__exit__(*error)

    @property
    def spent(self) -> int:
        """Units spent so far, in earlier tries too."""
        return self._earlier + work_spent()

    def render[R](self, template: object, work: Callable[[], R]) -> R:
        """Render, or return the result of the same template in an earlier try of the decision.

        Raises:
            MoreWork: The rest of the work of this try is too little for it.
        """
        index = self._count
        self._count += 1
        kept = self._kept.get(index)
        if kept is not None and kept[0] == template:
            self._earlier += kept[2]
            known: R = kept[1]
            return known
        before = work_spent()
        try:
            value = work()
        except TemplateLimitError as error:
            is_new = len(self._kept) > self._kept_before
            if not is_new or work_spent() < self._limit:
                raise
            if self.spent > _PARTS * self._limit:
                most = _PARTS * self._limit
                text = f"templates do too much work together (more than {most} units)"
                raise TemplateLimitError(text, template=error.template) from error
            raise MoreWork(self) from error
        spent = work_spent() - before
        if spent >= _WORTH_KEEPING:
            self._kept[index] = (template, value, spent)
        return value


_CURRENT: ContextVar[Renders | None] = ContextVar("renders", default=None)


def rendered[R](template: object, work: Callable[[], R]) -> R:
    """Render a template as one of the decision under way."""
    current = _CURRENT.get()
    return work() if current is None else current.render(template, work)


def work_of_decision() -> int:
    """Return the units that the decision under way has spent; 0 outside of one."""
    current = _CURRENT.get()
    return 0 if current is None else current.spent
