"""Why a text is not a playbook."""

from http import HTTPStatus

from noetl_engine.playbook.model import Problem


class PlaybookError(Exception):
    """A playbook text was refused. Its text is the first problem's message.

    Attributes:
        problems: Everything that is wrong, at least one; the first is what the reference says.
        status: HTTP status of the answer: 400 when the text doesn't decode, 422 when it
            decodes but breaks a rule.
    """

    def __init__(self, problems: tuple[Problem, ...], *, status: HTTPStatus) -> None:
        super().__init__(problems[0].message)
        self.problems = problems
        self.status = int(status)


class DecodeError(Exception):
    """A value has the wrong shape; becomes a PlaybookError with status 400."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem
