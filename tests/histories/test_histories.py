"""Recorded runs mean today the same as when they were recorded.

``tools/record_history`` adds one. A difference here is a decision someone has to write down: an
upgrade in the middle of an execution would see it.
"""

from pathlib import Path

import pytest
from history import FOLDER, Replay, folded, read, told
from noetl_engine.execution import Execution

PATHS = sorted(FOLDER.glob("*.jsonl"))
each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_there_are_histories():
    assert len(PATHS) >= 10


@each
def test_the_log_amounts_to_the_same(path: Path):
    history = read(path)

    assert history.result == folded(history.rows)


@each
def test_every_snapshot_and_its_tail_equal_the_whole_log(path: Path):
    rows = read(path).rows
    whole = Execution.restore(rows[0].execution_id, None, rows).snapshot()
    for cut in range(len(rows) + 1):
        head = Execution.restore(rows[0].execution_id, None, rows[:cut])
        both = Execution.restore(rows[0].execution_id, head.snapshot(), rows[cut:])

        assert whole == both.snapshot(), cut


@each
def test_the_engine_decides_the_same_again(path: Path):
    history = read(path)

    assert told(history.rows) == told(Replay(history).run())
