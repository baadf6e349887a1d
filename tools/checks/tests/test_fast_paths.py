from collections.abc import Callable
from pathlib import Path

import fast_paths
import pytest

type Plant = Callable[[str, str], None]

ROOT = Path(__file__).resolve().parents[3]
HEAD = (
    "| name | what it does | where | figure | switch | fast way held by | slow way held by |\n"
    "|---|---|---|---|---|---|---|\n"
)
CELLS = {
    "name": "`short-way`",
    "does": "It goes past the stream.",
    "where": "`noetl_outbox.relay`",
    "figure": "5 %: [ADR 9](adr/0009-a.md)",
    "switch": "`NOETL_SHORT=false`",
    "fast": "`outbox/test_relay.py::test_fast`",
    "slow": "`outbox/test_relay.py`",
}


def _row(**cells: str) -> str:
    return f"| {' | '.join((CELLS | cells).values())} |\n"


@pytest.fixture
def checkout(plant: Plant) -> Plant:
    plant("services/outbox/src/noetl_outbox/__init__.py", "")
    plant("services/outbox/src/noetl_outbox/relay.py", "")
    plant("services/outbox/tests/test_relay.py", "def test_fast(): ...\n")
    plant("docs/configuration.md", "| `NOETL_SHORT` | true or false | `true` |  | Whether. |\n")
    return plant


def test_the_rows_of_this_checkout_name_what_is_there() -> None:
    assert list(fast_paths.find(ROOT)) == []


@pytest.mark.parametrize(
    "row",
    [
        _row(),
        _row(figure="a third less: `7bb4a052`"),
        _row(figure="Not measured; a hop less."),
    ],
)
def test_a_whole_row_is_one(row: str, checkout: Plant, tmp_path: Path) -> None:
    checkout("docs/fast-paths.md", f"Text\n\n{HEAD}{row}")

    assert list(fast_paths.find(tmp_path)) == []


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (_row(name="Short way"), "a row is no name in small letters with 6 cells more: Short way"),
        ("| `short-way` | Yes. |\n", "a row is no name in small letters with 6 cells more: `sho"),
        (_row() + _row(), "`short-way` is there twice"),
        (_row(does=""), "`short-way` doesn't say what it does"),
        (_row(where="the relay"), "`short-way` names no module"),
        (_row(where="`noetl_outbox.rely`"), "`short-way` names `noetl_outbox.rely`, which is not"),
        (_row(figure="much"), "the figure of `short-way` has no source, nor is it `not measured`"),
        (_row(switch="by hand"), "`short-way` names no setting `NAME=value`"),
        (_row(switch="`NOETL_LONG=0`"), "`short-way` is switched off by `NOETL_LONG`, which is no"),
        (_row(slow=""), "of `short-way` the cell `slow way held by` names no test"),
        (_row(fast="`a/test_relay.py::test_slow`"), "there is no test `test_slow`"),
        (_row(slow="`outbox/test_rely.py`"), "there is no file `test_rely.py`"),
    ],
)
def test_what_a_row_lacks_is_told(row: str, told: str, checkout: Plant, tmp_path: Path) -> None:
    checkout("docs/fast-paths.md", HEAD + row)

    (found,) = fast_paths.find(tmp_path)

    assert found.startswith(f"docs/fast-paths.md: {told}")
