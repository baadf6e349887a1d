"""Errors of engine calls."""


class EngineError(Exception):
    """Root of the engine's errors."""


class EvaluateError(EngineError):
    """A decision can't be made from this playbook and this state, however often it is tried."""


class StartRefused(EngineError):
    """A start that is refused; nothing was written.

    Attributes:
        status: HTTP status of the answer.
        text: Its error text.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
