from pathlib import Path

import metrics
import pytest


def _found(folder: Path, text: str) -> list[metrics.Family]:
    (folder / "relay.py").write_text(text)
    return list(metrics.families(folder))


def test_families_are_found_wherever_they_are_made(tmp_path: Path) -> None:
    text = """
from noetl_common import metrics
from noetl_common.metrics import gauge

A = gauge("noetl_a", "Rows " "left.")

class Relay:
    def __init__(self):
        labels = ("stream",)
        self.b = metrics.counter("noetl_b_total", "Rows.", labels, zeros=STREAMS)
        self.c = metrics.histogram("noetl_c_seconds", "Time.", ["kind"], buckets=WIDE)
"""

    assert _found(tmp_path, text) == [
        metrics.Family("noetl_a", "gauge", (), "Rows left."),
        metrics.Family("noetl_b_total", "counter", ("stream",), "Rows."),
        metrics.Family("noetl_c_seconds", "histogram", ("kind",), "Time."),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "from noetl_common import metrics\nmetrics.counter(name, 'Rows.')\n",
        "from noetl_common import metrics\nmetrics.counter('a', 'Rows.', names)\n",
        "from noetl_common import metrics\nmetrics.counter('a')\n",
        "from noetl_common import metrics\nmetrics.counter('a_total', 'Rows.', ['end'])\n",
        "from prometheus_client import Counter\nCounter('a', 'Rows.')\n",
    ],
)
def test_what_cannot_be_read_is_an_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(metrics.NotLiteral):
        _found(tmp_path, text)


def test_other_counters_are_none(tmp_path: Path) -> None:
    assert _found(tmp_path, "from collections import Counter\nCounter(words)\n") == []
