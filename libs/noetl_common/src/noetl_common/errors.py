"""The base class of all errors, its subclasses for permanent and transient errors, and others."""

import re
from typing import Any, ClassVar

from noetl_contract.json import JsonObject

_LONGEST_VALUE = 300
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


class NoetlError(Exception):
    """An error with a message template, its context, a stable code and an HTTP status.

    Subclasses set ``template``; a template that is passed to the constructor takes precedence. The
    message contains long values in a shortened form; ``context`` keeps whole values for logs.

    An error that is neither `Permanent` nor `Transient` is treated as transient.
    """

    template: ClassVar[str] = "something went wrong"
    code: ClassVar[str] = "noetl_error"
    http_status: int = 500

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            cls.code = _CAPITAL.sub("_", cls.__name__).lower()

    def __init__(self, template: str | None = None, /, **context: Any) -> None:
        text = self.template if template is None else template
        self.context: dict[str, Any] = context
        self.message = _filled(text, context) if context else text
        super().__init__(self.message)

    @property
    def detail(self) -> JsonObject:
        """Code and context, for the body of the error."""
        return {"code": self.code, **self.context}


class Permanent(NoetlError):
    """An error that a retry can't fix."""

    template = "this can't succeed"
    http_status = 422


class Transient(NoetlError):
    """An error after which a later retry may succeed."""

    template = "this may succeed later"
    http_status = 503


class Unavailable(Transient):
    """A dependency does not answer."""

    template = "{what} is not available"


class Conflict(NoetlError):
    """Another writer was faster: read the new state and decide again."""

    template = "{what} was changed by another writer"
    http_status = 409


class NotFound(Permanent):
    """The requested object does not exist."""

    template = "{what} not found"
    http_status = 404


class Invalid(Permanent):
    """The input is invalid."""

    template = "{what} is not valid"


class TooLarge(Permanent):
    """A body exceeds its size limit."""

    template = "{what} has {size} bytes, the limit is {limit}"
    http_status = 413


class NotMinting(Transient):
    """No id can be generated, because the lease of the machine id or the clock is in doubt."""

    template = "no ids are made now: {reason}"


def _filled(template: str, context: dict[str, Any]) -> str:
    """Fill a template; if the template doesn't fit its context, the error is still shown."""
    try:
        return template.format_map({name: _cut(value) for name, value in context.items()})
    except (KeyError, IndexError, ValueError):
        return f"{template} {context!r}"


def _cut(value: Any) -> Any:
    text = str(value)
    return value if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
