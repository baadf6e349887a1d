"""Errors of playbook texts."""

from noetl_engine.playbook.problem import Problem


class PlaybookError(Exception):
    """A playbook text was refused. Its text is the first problem's message.

    Attributes:
        problems: Those of the first check that found any; the first is the original server's.
        status: HTTP status of the answer: 400 when the text doesn't decode, 422 when it
            decodes but breaks a rule.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems[0].message)
        self.problems = problems
        self.status = int(problems[0].status)


class DecodeError(Exception):
    """The text is no YAML of the dialect; becomes a PlaybookError with status 400."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem
