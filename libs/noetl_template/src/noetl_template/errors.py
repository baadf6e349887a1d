"""Errors of templates."""

from typing import Any

_SHOWN_TEMPLATE_CHARS = 200


class TemplateError(Exception):
    """A template could not be compiled or rendered.

    Attributes:
        problem: The problem, without the text of the template and the position in it.
        line: One-based line of the template, ``None`` when unknown.
        reason: The problem with its line.
        template: The template's text, cut to 200 characters.
    """

    def __init__(self, problem: str, *, template: str, line: int | None = None) -> None:
        reason = problem if line is None else f"{problem} (line {line})"
        shown = template[:_SHOWN_TEMPLATE_CHARS]
        if len(template) > _SHOWN_TEMPLATE_CHARS:
            shown += "…"
        super().__init__(f"{reason} (in template: {shown})")
        self.problem = problem
        self.line = line
        self.reason = reason
        self.template = shown


class TemplateLimitError(TemplateError):
    """A template reached a limit. A default in the template doesn't hide this error."""


class SecretMissing(TemplateError):
    """A template names a secret that doesn't exist. No other value is used in its place."""


class ValueNotAtHand(TemplateError):
    """A template asks for a value that is kept elsewhere. It is never taken for an absent value.

    Attributes:
        stored: what stands for the value, a :class:`~noetl_template.stored.Stored`.
        is_whole: whether the template needs all of the value, not its outline or a part.
    """

    stored: Any = None
    is_whole: bool = True


class EvaluationError(Exception):
    """An error of operators, filters and limits, which becomes a TemplateError."""

    def __init__(self, problem: str, *, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


class LimitReached(EvaluationError):
    """A limit is reached; becomes a TemplateLimitError."""


class NotAtHand(EvaluationError):
    """A value is kept elsewhere and has not been fetched; becomes a ValueNotAtHand."""

    def __init__(self, stored: Any, *, is_whole: bool) -> None:
        super().__init__("the value is kept elsewhere")
        self.stored = stored
        self.is_whole = is_whole


class NoSecret(EvaluationError):
    """A named secret doesn't exist; becomes a SecretMissing."""
