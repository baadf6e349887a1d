"""Output of a run: its readers, its bounds, and its masked secrets."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from noetl_bus.inbox import Incoming
from noetl_contract.http.workers.output import LONGEST_LINE, OutputBatch
from noetl_contract.subjects import WATCH_HINT
from noetl_testkit.waiting import eventually
from noetl_worker.commands import Command
from noetl_worker.output.channels import OutputPlace
from noetl_worker.output.limits import OutputLimits
from noetl_worker.output.outputs import Outputs
from noetl_worker.output.run_output import RunOutput

EXECUTION = 7


class Sent:
    """A channel that keeps its batches."""

    def __init__(self) -> None:
        self.batches: list[OutputBatch] = []

    def send(self, place: OutputPlace, body: bytes) -> None:
        assert place.execution_id == EXECUTION
        self.batches.append(OutputBatch.model_validate_json(body))

    async def settle(self) -> None:
        """Nothing waits."""

    @property
    def texts(self) -> list[str]:
        return [line.text for batch in self.batches for line in batch.lines]

    @property
    def numbers(self) -> list[int]:
        return [line.number for batch in self.batches for line in batch.lines]


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def outputs(sent: Sent) -> Outputs:
    return Outputs(sent, OutputLimits(bytes_per_second=4096, kept_bytes=1024))


def watch(outputs: Outputs, *, fresh: Sequence[int] = (), executions: Any = (EXECUTION,)) -> None:
    body = orjson.dumps({"executions": list(executions), "fresh": list(fresh)})
    outputs.on_hint(Incoming(WATCH_HINT, body, {}))


def begin(outputs: Outputs, hidden: Sequence[str] = ()) -> RunOutput:
    command = Command(EXECUTION, 70, "7:load:70", "load", "", "python", {}, attempts=1)
    return outputs.of(command, lambda: hidden)


async def test_without_a_watcher_nothing_is_sent(outputs: Outputs, sent: Sent) -> None:
    output = begin(outputs)
    output.take("stdout", b"hello\n" * 100)
    await outputs.close(output)

    watch(outputs, executions=(8,))
    other = begin(outputs)
    other.take("stdout", b"hello\n")
    await outputs.close(other)

    assert sent.batches == []


async def test_who_watches_gets_lines_while_the_run_goes_on(outputs: Outputs, sent: Sent) -> None:
    watch(outputs)
    output = begin(outputs)
    output.take("stdout", b"one\ntw")
    await eventually(lambda: sent.texts == ["one"], what="the first line")
    output.take("stderr", b"oops\n")
    output.take("stdout", b"o\nthree")
    await outputs.close(output)

    assert [(one.stream, one.text) for batch in sent.batches for one in batch.lines] == [
        ("stdout", "one"), ("stderr", "oops"), ("stdout", "two"), ("stdout", "three"),
    ]  # fmt: skip
    assert sent.numbers == [1, 2, 3, 4]
    assert [batch.is_whole for batch in sent.batches] == [True, False]
    assert sent.batches[-1].is_over
    assert (sent.batches[0].step, sent.batches[0].attempts) == ("load", 1)


async def test_who_comes_later_gets_what_is_kept(outputs: Outputs, sent: Sent) -> None:
    output = begin(outputs)
    for number in range(1, 101):
        output.take("stdout", b"line %d\n" % number)
    watch(outputs)

    assert sent.texts[-1] == "line 100"
    assert 20 < len(sent.texts) < 100
    assert sent.numbers == list(range(101 - len(sent.numbers), 101))
    assert sent.batches[0].is_whole

    output.take("stdout", b"line 101\n")
    watch(outputs, fresh=[EXECUTION])  # a second one
    assert sent.texts.count("line 100") == 2
    await outputs.close(output)
    assert sent.numbers.count(101) == 1
    watch(outputs, fresh=[EXECUTION])
    assert sent.numbers.count(101) == 1


async def test_a_flood_is_bounded_and_its_gaps_are_seen(outputs: Outputs, sent: Sent) -> None:
    watch(outputs)
    output = begin(outputs)
    for _ in range(50):
        output.take("stdout", b"y\n" * 20_000)
        await asyncio.sleep(0)
    await outputs.close(output)

    assert sent.batches[-1].last == 1_000_000
    assert 500 < len(sent.numbers) < 20_000  # a second's worth, and what came to it meanwhile
    assert sent.numbers == sorted(set(sent.numbers))


async def test_short_lines_count_as_lines(sent: Sent) -> None:
    outputs = Outputs(sent, OutputLimits(bytes_per_second=1 << 20, lines_per_second=10))
    watch(outputs)
    output = begin(outputs)
    output.take("stdout", b"y\n" * 1000)
    await outputs.close(output)

    assert (len(sent.numbers), sent.batches[-1].last) == (10, 1000)


async def test_all_that_is_sent_has_a_bound(sent: Sent) -> None:
    outputs = Outputs(sent, OutputLimits(most_bytes=10))
    watch(outputs)
    output = begin(outputs)
    output.take("stdout", b"four\nfive\nsix and seven\n")
    await outputs.close(output)

    assert (sent.texts, sent.batches[-1].last) == (["four", "five"], 3)


async def test_secrets_are_masked(sent: Sent) -> None:
    outputs = Outputs(sent)
    secret = "first-line\nsecond-line"
    watch(outputs)
    output = begin(outputs, hidden=("hunter-22", secret))
    output.take("stdout", b"the word is hunter-")
    output.take("stdout", b"22!\nsecond-line\nBearer abcdefgh\n")
    output.take("stdout", b"x" * (LONGEST_LINE - 4) + b"hunter-22\n")
    await outputs.close(output)

    assert sent.texts[:3] == ["the word is [REDACTED]!", "[REDACTED]", "[REDACTED]"]
    assert sent.texts[3].startswith("x" * (LONGEST_LINE - 4) + "[RED… ")
    assert "hunter" not in str(output.tails(10_000))


async def test_the_tail_is_the_last_lines(outputs: Outputs) -> None:
    output = begin(outputs)
    output.take("stdout", b"".join(b"line %d\n" % number for number in range(30)))
    output.take("stderr", b"why")
    await outputs.close(output)

    assert output.tails(16) == {"stdout": "line 28\nline 29\n", "stderr": "why\n"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"executions":7,"fresh":null}'])
def test_a_hint_that_is_none_changes_nothing(outputs: Outputs, body: bytes) -> None:
    outputs.on_hint(Incoming(WATCH_HINT, body, {}))

    assert not outputs.is_watched(begin(outputs))
