from collections.abc import Callable
from pathlib import Path

import findings
import pytest
import wording

type Plant = Callable[[str, str], None]

PLACE = "services/worker/src/noetl_worker/module.py"

WELL_SAID = '''
"""Limits of one run."""

MOST = 5
"""Highest number of runs at once."""
WORDS = """What is a string and no docstring."""


class Run:
    """Outcome of a command. What it printed is not part of it."""

    told: int
    """Seconds until it is reported."""

    @property
    def is_closed(self) -> bool:
        """Whether it is closed."""

    def send(self) -> None:
        """Send it with ``Bus.hand_over``, and call `told` afterwards.

        The rest may be told at length.
        """
        text = """
        What a string begins with.
        """
        print("Who are you?", text)
'''


def test_nouns_verbs_and_names_of_code_are_good(plant: Plant, tmp_path: Path) -> None:
    plant(PLACE, WELL_SAID)
    plant("README.md", "# Worker\n\nWhat it does.\n\n```sh\n# What a comment says\n```\n")
    plant("libs/noetl_client/README.md", "# Whatever works\n\n## Whole results\n")

    assert list(wording.find(tmp_path)) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"""What runs at once."""\n', 1),
        ('"""\nWho calls.\n"""\n', 1),
        ("'''Whose turn it is.'''\n", 1),
        ('"""Whether what is sent is whole."""\n', 1),
        ('r"""What \\d matches."""\n', 1),
        ('MOST = 5\n"""What fits."""\n', 2),
        ('class Run:\n    """Run."""\n\n    size: int\n    """What it takes."""\n', 5),
        ('class Run:\n    def size(self) -> int:\n        """What it takes."""\n', 3),
        ('async def run() -> None:\n    """What runs."""\n', 2),
    ],
)
def test_a_docstring_that_begins_with_a_question_is_found(
    text: str, line: int, plant: Plant, tmp_path: Path
) -> None:
    plant(PLACE, text)

    (found,) = wording.find(tmp_path)
    assert found.startswith(f"{PLACE}:{line}: a docstring begins with `Wh")
    assert "name the thing" in found


@pytest.mark.parametrize("heading", ["What is kept", "Who may do it", "Whose keys count"])
def test_so_is_such_a_heading(heading: str, plant: Plant, tmp_path: Path) -> None:
    plant("libs/noetl_client/README.md", f"# Title\n\n```md\n# {heading}\n```\n\n## {heading}\n")

    word = heading.partition(" ")[0]
    (found,) = wording.find(tmp_path)
    assert found.startswith(f"libs/noetl_client/README.md:7: a heading begins with `{word}`: ")


@pytest.mark.parametrize(
    ("line", "word", "proposal"),
    [
        ("Answer as told.", "told", "known"),
        ("Tell whether it runs.", "tell", "report"),
        ("A part that tells its end.", "tells", "reports"),
        ("A slot that is lent meanwhile.", "lent", "released"),
        ("Commands handed to a worker.", "handed", "dispatched"),
        ("Hand over what came.", "hand over", "forward"),
        ("Seconds of patience with it.", "patience", "timeout"),
        ("The short way to a database.", "short way", "bypass"),
    ],
)
def test_words_of_the_project_alone_are_found_in_first_lines(
    line: str, word: str, proposal: str, plant: Plant, tmp_path: Path
) -> None:
    plant(PLACE, f'def run() -> None:\n    """{line}\n\n    {line}\n    """\n')

    (found,) = wording.find(tmp_path)
    assert found.startswith(f"{PLACE}:2: `{word}` in a first line: say ")
    assert proposal in found


READ = "services/outbox/src/noetl_outbox"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""Limits.\n\n    They were told.\n    """\n', "a.py:1: `told`: say reported"),
        ('"""It is closed."""\n', "a.py:1: a text begins with `It`"),
        ("# Those that\n# nobody reads.\n", "a.py:1: a text begins with `Those`"),
        ("a = 1  # For\n# nobody.\n", "a.py:2: `nobody`: say no caller"),
        (f"# {'word ' * 41}\n", "a.py:1: a sentence of 41 words"),
        ("def take_row():\n    pass\n", "a.py:1: `take_row`: name the act"),
        ("def read(told):\n    pass\n", "a.py:1: `told`: a name without"),
        ("class WriteDoor:\n    pass\n", "a.py:1: `WriteDoor`: a name without `door`"),
        ("-- name: one\n-- What is\n-- kept.\nSELECT 1;\n", "a.sql:2: a text begins with `What`"),
    ],
)
def test_of_delivered_packages_comments_names_and_whole_docstrings_are_read(
    text: str, expected: str, plant: Plant, tmp_path: Path
) -> None:
    for package in (READ, PLACE.rpartition("/")[0]):
        plant(f"{package}/__init__.py", "")
        plant(f"{package}/{expected.partition(':')[0]}", text)

    found = [one for one in wording.find(tmp_path) if "docstring begins" not in one]
    assert found[0].startswith(f"{READ}/{expected}")
    assert all(one.startswith(READ) for one in found), "the worker is in the list of the unread"


def test_texts_that_name_their_subject_are_good(plant: Plant, tmp_path: Path) -> None:
    plant(f"{READ}/__init__.py", "")
    plant(f"{READ}/queries.sql", "-- name: read_one\n-- The row of an id. $1 id\nSELECT $1;\n")
    plant(
        f"{READ}/rows.py",
        '"""Rows, as `told`. The value is None."""\n\n# A row that is None.\n'
        f"# {'word ' * 30}. {'word ' * 30}.\nnotes = 5\n\n\ndef retake(): ...\n",
    )

    assert list(wording.find(tmp_path)) == []


def test_every_folder_that_is_not_read_yet_is_there() -> None:
    assert [folder for folder in wording.UNREAD if not (findings.ROOT / folder).exists()] == []


def test_all_folders_are_read(plant: Plant, tmp_path: Path) -> None:
    folders = {"docs", "libs/noetl_common", "services/worker/tests", "tests/chart"}
    for folder in folders:
        plant(f"{folder}/module.py", '"""What is told."""\n')

    assert {found.partition("/module.py")[0] for found in wording.find(tmp_path)} == folders
