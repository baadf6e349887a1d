"""The page on the architecture tells what a running stack sends for a step, and nothing else."""

import re
from collections import Counter
from collections.abc import Iterator
from time import monotonic

import pytest
from fenced import ROOT
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_for
from readmes import root_of
from traffic import METRICS, Played, Traffic, traffic_of

PAGE = (ROOT / "docs" / "architecture.md").read_text()
TRANSPORTS = {"nats": "#### Workers at the broker", "http": "#### Workers over HTTP"}
COLUMNS = (
    *("an execution of one quick step", "each further quick step"),
    *("a longer one", "one with a large command"),
)
RUNS = {
    "one step": ["quick"],
    "three quick ones": ["quick", "quick", "quick"],
    "a longer one": ["quick", "longer"],
    "a large one": ["quick", "large"],
}

_LOOKS = 25

type Bounds = tuple[int, int]
type Table = dict[str, list[Bounds]]


def table_below(page: str, title: str) -> Table:
    """Return the rows of the table below a heading: the fewest and the most, by what is counted."""
    _, found, below = page.partition(f"{title}\n")
    assert found, f"the page has no `{title}`"
    head, *rows = re.findall(r"^\| (.*) \|$", below.partition("\n#")[0], re.MULTILINE)
    assert tuple(head.split(" | ")[1:5]) == COLUMNS
    table: Table = {}
    for row in rows:
        name, *cells = (cell.strip() for cell in row.split(" | "))
        key = name.strip("`")
        key = root_of(key) or key
        assert key not in table, f"`{key}` is there twice"
        table[key] = [_bounds(cell) for cell in cells[:4]]
    return table


def _bounds(cell: str) -> Bounds:
    fewest, _, most = cell.partition("\N{EN DASH}")
    return (int(fewest), int(most or fewest)) if cell else (0, 0)


def expected(table: Table, kinds: list[str]) -> Table:
    """Return what an execution of a quick step and of further ones comes to."""
    columns = [0, *({"quick": 1, "longer": 2, "large": 3}[kind] for kind in kinds[1:])]
    return {
        key: [(sum(cells[one][0] for one in columns), sum(cells[one][1] for one in columns))]
        for key, cells in table.items()
    }


def differences(table: Table, kinds: list[str], found: Counter[str]) -> list[str]:
    """Return what was counted and is not what a table says."""
    wanted = expected(table, kinds)
    told = []
    for key in sorted({*wanted, *found}):
        ((fewest, most),) = wanted.get(key, [(0, 0)])
        if not fewest <= found[key] <= most:
            told.append(f"{key}: {found[key]}, and the page says {fewest} to {most}")
    return told


@pytest.fixture
def traffic(transport_stack: Stack) -> Iterator[Traffic]:
    with traffic_of(transport_stack) as traffic:
        yield traffic


@pytest.fixture
def table(transport_stack: Stack) -> Table:
    transport = transport_stack.environment["NOETL_WORKER_TRANSPORT"]
    return table_below(PAGE, TRANSPORTS[transport])


def undisturbed(table: Table, traffic: Traffic, kinds: list[str]) -> Counter[str]:
    """Return the counts of an execution in which nothing was late; they are those of the table.

    On a busy machine half a second for an answer may be too short. The counts of such an execution
    are others, which is why there is another one then.
    """
    until = monotonic() + PATIENCE_SECONDS
    while True:
        played = traffic.execute(kinds)
        found, told = _settled(table, played)
        if not told:
            return found
        assert monotonic() < until, f"every execution was disturbed, the last one so: {told}"


def _settled(table: Table, played: Played) -> tuple[Counter[str], list[str]]:
    """Return what an execution comes to, and how the table differs if it was disturbed.

    Raises:
        AssertionError: it was not, and all that is to be sent for it has been.
    """
    looks = 0

    def look() -> tuple[Counter[str], list[str]] | None:
        nonlocal looks
        count = played.count()
        told = differences(table, played.kinds, count.of)
        if count.is_disturbed or not told:
            return count.of, told
        # Services count a moment after they have sent.
        looks += count.is_whole
        assert looks < _LOOKS, f"{played.kinds}: {told}"
        return None

    return wait_for(look, what="all of an execution is sent", every_seconds=0.2)


@pytest.mark.e2e
@pytest.mark.parametrize("run", RUNS)
def test_a_step_sends_what_the_page_says(table: Table, traffic: Traffic, run: str) -> None:
    found = undisturbed(table, traffic, RUNS[run])

    assert found["commits of the log"] > 0


@pytest.mark.e2e
def test_everything_that_the_page_names_is_seen(table: Table, traffic: Traffic) -> None:
    seen: set[str] = set()
    for kinds in RUNS.values():
        seen |= undisturbed(table, traffic, kinds).keys()

    assert seen == table.keys()


def test_the_tables_name_subjects_that_there_are() -> None:
    for title in TRANSPORTS.values():
        named = {key for key in table_below(PAGE, title) if key.startswith("noetl")}

        assert {key for key in named if root_of(key) != key} <= METRICS.keys()


def test_the_picture_has_the_subjects_of_the_tables() -> None:
    picture = PAGE.partition("```\n")[2].partition("```")[0]
    drawn = {root_of(word) for word in re.findall(r"noetl[\w.]+", picture)}
    tables = [table_below(PAGE, title) for title in TRANSPORTS.values()]

    assert drawn == {root_of(key) for table in tables for key in table} - {None}


_TABLE = (
    "#### Workers over HTTP\n\n"
    f"| what | {' | '.join(COLUMNS)} | who |\n|---|---|---|---|---|---|\n"
    "| `noetl.commands.<pool>` | 1 | 1 | 1 | 1 | the relay |\n"
    "| answers | 2 | 0\N{EN DASH}1 | 2 |  | x |\n\n#### Other\n\n| a | b |\n"
)


def test_a_subject_too_few_one_too_many_and_another_number_are_differences() -> None:
    table = table_below(_TABLE, TRANSPORTS["http"])

    assert table == {
        "noetl.commands": [(1, 1), (1, 1), (1, 1), (1, 1)],
        "answers": [(2, 2), (0, 1), (2, 2), (0, 0)],
    }
    kinds = ["quick", "quick", "quick"]
    assert differences(table, kinds, Counter({"noetl.commands": 3, "answers": 3})) == []
    assert differences(table, kinds, Counter({"answers": 5, "noetl_ingress": 1})) == [
        "answers: 5, and the page says 2 to 4",
        "noetl.commands: 0, and the page says 3 to 3",
        "noetl_ingress: 1, and the page says 0 to 0",
    ]
