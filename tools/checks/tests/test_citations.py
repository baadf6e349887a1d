from collections.abc import Callable
from pathlib import Path

import citations
import pytest

SOURCE = "services/outbox/src/noetl_outbox/relay.py"
RULES = "| id | rule |\n|---|---|\n| W5 | Starts. `test_relay.py::test_start` `test_relay.py` |\n"


@pytest.fixture
def rules(plant: Callable[[str, str], None]) -> None:
    plant("docs/rules.md", RULES)
    plant("services/outbox/tests/test_relay.py", "async def test_start() -> None: ...\n")


@pytest.mark.usefixtures("rules")
def test_what_is_defined_may_be_cited(plant: Callable[[str, str], None], tmp_path: Path) -> None:
    plant(SOURCE, '"""Drop it (W5)."""\n# W5: see there; bodies in S3; `%F0`\nO9 = 1\n')
    plant("migrations/1.sql", "-- a key (W5)\nSELECT W7;\n")

    assert list(citations.find(tmp_path)) == []


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        (SOURCE, '"""Drop it (W6)."""\n'),
        (SOURCE, "x = 1  # a race, see W6\n"),
        ("migrations/1.sql", "SELECT 1; -- W6\n"),
        ("docs/other.md", "the first (W6)\n"),
        ("services/outbox/tests/test_x.py", '"""Rules W5 to W6."""\n'),
    ],
)
def test_what_is_not_defined_may_not(
    name: str, text: str, plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant(name, text)

    assert list(citations.find(tmp_path)) == [f"{name}:1: docs/rules.md doesn't define `W6`"]


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize(
    ("comment", "reference"),
    [
        ("bodies as in http-b 3.1", "http-b"),
        ("(design W5)", "design W5"),
        ("see design, section 7", "design, section 7"),
        ("the fast part (worker 22.2)", "(worker 22.2"),
        ("empty loops (engine 8)", "(engine 8"),
        ("contract: data 3.1", "contract: data"),
        ("strings for browsers (C3)", "(C3)"),
        ("see spec/style.md", "spec/style.md"),
    ],
)
def test_other_documents_are_not_cited(
    comment: str, reference: str, plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant(SOURCE, f"# {comment}\n")

    found = list(citations.find(tmp_path))

    assert any(f"`{reference}` is in no document" in line for line in found), found


@pytest.mark.usefixtures("rules")
def test_numbers_in_prose_are_no_references(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant(SOURCE, "# worker 2 takes the tools of worker 1; sharding 2 ways, engine 30 ms\n")

    assert list(citations.find(tmp_path)) == []


def test_tests_of_rules_exist(plant: Callable[[str, str], None], tmp_path: Path) -> None:
    plant("docs/rules.md", RULES)
    plant("services/outbox/tests/test_other.py", "def test_start() -> None: ...\n")
    assert list(citations.find(tmp_path)) == ["docs/rules.md: there is no file `test_relay.py`"]

    plant("services/outbox/tests/test_other.py", "def test_begin() -> None: ...\n")
    assert list(citations.find(tmp_path)) == [
        "docs/rules.md: there is no test `test_start`",
        "docs/rules.md: there is no file `test_relay.py`",
    ]
