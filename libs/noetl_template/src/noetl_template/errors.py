"""The one error a caller sees."""

_SHOWN_TEMPLATE_CHARS = 200


class TemplateError(Exception):
    """A template could not be compiled or rendered.

    Attributes:
        reason: What is wrong, without the template's text.
        template: The template's text, cut to 200 characters.
    """

    def __init__(self, reason: str, *, template: str) -> None:
        shown = template[:_SHOWN_TEMPLATE_CHARS]
        if len(template) > _SHOWN_TEMPLATE_CHARS:
            shown += "…"
        super().__init__(f"{reason} (in template: {shown})")
        self.reason = reason
        self.template = shown


class EvaluationError(Exception):
    """Raised by operators, filters and limits while a template runs; becomes a TemplateError."""
