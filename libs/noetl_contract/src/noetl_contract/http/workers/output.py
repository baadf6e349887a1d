"""Output lines of running steps, on their way to watching readers; they may be lost."""

from typing import Literal

from pydantic import Field

from noetl_contract.model import Model, example

LONGEST_LINE = 4096
"""Characters of a line that are shown; the rest of a longer one is counted."""
MOST_LINES = 1000
"""Lines of one batch."""

type OutputStream = Literal["stdout", "stderr"]


class OutputLine(Model):
    """A line of a step's output.

    Attributes:
        number: from 1, over both streams of a run. A gap is lines that were left out.
        time: when the worker read it, in UTC.
        text: without its end, secrets masked.
    """

    number: int = Field(ge=1)
    stream: OutputStream
    time: str = Field(max_length=40)
    text: str = Field(max_length=LONGEST_LINE + 64)


class OutputBatch(Model):
    """Lines of one run of a command, in order.

    Attributes:
        event_id: of the command; with ``attempts`` it names the run.
        lines: new ones; or, when ``is_whole``, those that the worker still has, from the oldest.
        last: number of the last line that was printed, shown or not.
        is_over: the run prints no more.
    """

    model_config = example(
        execution_id=325077236512452608,
        event_id=325077236516646912,
        command_id="325077236512452608:load:325077236516646912",
        step="load",
        attempts=0,
        lines=[
            {
                "number": 1,
                "stream": "stdout",
                "time": "2026-11-27T20:15:03.120Z",
                "text": "page 1 of 20",
            }
        ],
        last=1,
        is_whole=True,
    )

    execution_id: int
    event_id: int
    command_id: str = Field(max_length=1024)
    step: str = Field(max_length=512)
    attempts: int = Field(default=0, ge=0)
    lines: list[OutputLine] = Field(max_length=MOST_LINES)
    last: int = Field(ge=0)
    is_whole: bool = False
    is_over: bool = False


class OutputTaken(Model):
    """Acknowledgement that the lines were passed on to watching readers."""

    model_config = example(status="ok")

    status: Literal["ok"] = "ok"


class StepOutput(Model):
    """Data of `event: output` in an event stream: lines of one run, each once.

    Attributes:
        event_id: of the command; with ``attempts`` it names the run.
        dropped: lines that were left out before the first of these; with no lines, behind the last.
    """

    execution_id: int
    event_id: int
    command_id: str
    step: str
    attempts: int
    dropped: int
    lines: list[OutputLine]
