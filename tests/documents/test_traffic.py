"""The page on the architecture names all that a running stack sends for a step, and no more."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from subprocess import TimeoutExpired
from time import monotonic

import pytest
from fenced import ROOT
from noetl_contract.rpc.registry import all_operations
from noetl_contract.subjects import INGRESS_ROOT
from noetl_testkit.stack import Stack, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_for
from readmes import root_of
from traffic import METRICS, POOLS, Played, Traffic, family_of, traffic_of

PAGE = (ROOT / "docs" / "architecture.md").read_text()
TABLES = {
    ("nats", "direct"): "#### Workers at the broker",
    ("http", "direct"): "#### Workers over HTTP",
    ("nats", "stream"): "#### Workers at the broker, where all is stored first",
    ("http", "stream"): "#### Workers over HTTP, where all is stored first",
}
"""Headings by the transport of the workers and by `NOETL_INGRESS`.

The tables of `stream` have the rows that differ from those of `direct`.
"""
NOT_COUNTED = "#### Of no step"
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


def table_of(page: str, transport: str, ingress: str) -> Table:
    """Return what a page says about a transport and a way in."""
    table = table_below(page, TABLES[transport, "direct"])
    if ingress == "direct":
        return table
    changes = table_below(page, TABLES[transport, ingress])
    for key, cells in changes.items():
        assert table.get(key) != cells, f"`{key}` is the same with both, and needs no row"
    return {key: cells for key, cells in (table | changes).items() if any(map(any, cells))}


def table_below(page: str, title: str) -> Table:
    """Return the rows of the table below a heading: the fewest and the most, by what is counted."""
    head, *rows = _rows_below(page, title)
    assert tuple(head.split(" | ")[1:5]) == COLUMNS
    table: Table = {}
    for row in rows:
        name, *cells = (cell.strip() for cell in row.split(" | "))
        key = _key_of(name)
        assert key not in table, f"`{key}` is there twice"
        table[key] = [_bounds(cell) for cell in cells[:4]]
    return table


def not_counted(page: str) -> frozenset[str]:
    """Return the families of subjects of which a page says that they belong to no step."""
    _, *rows = _rows_below(page, NOT_COUNTED)
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    families = [family_of(name) for name in named]
    assert len(families) == len(set(families)), "one is there twice"
    return frozenset(families)


def _rows_below(page: str, title: str) -> list[str]:
    _, found, below = page.partition(f"{title}\n")
    assert found, f"the page has no `{title}`"
    rows = re.findall(r"^\| (.*) \|$", below.partition("\n#")[0], re.MULTILINE)
    assert len(rows) > 1, f"no table below `{title}`"
    return rows


def _key_of(name: str) -> str:
    key = name.strip("`")
    return key if key == name or key in METRICS else family_of(key)


def _bounds(cell: str) -> Bounds:
    fewest, _, most = cell.partition("\N{EN DASH}")
    return (int(fewest), int(most or fewest)) if cell else (0, 0)


def expected(table: Table, kinds: list[str]) -> Table:
    """Return the counts expected of an execution of a quick step and of further ones."""
    columns = [0, *({"quick": 1, "longer": 2, "large": 3}[kind] for kind in kinds[1:])]
    return {
        key: [(sum(cells[one][0] for one in columns), sum(cells[one][1] for one in columns))]
        for key, cells in table.items()
    }


def differences(table: Table, kinds: list[str], found: Counter[str]) -> list[str]:
    """Return the counts that differ from a table."""
    wanted = expected(table, kinds)
    told = []
    for key in sorted({*wanted, *found}):
        ((fewest, most),) = wanted.get(key, [(0, 0)])
        if not fewest <= found[key] <= most:
            told.append(f"{key}: {found[key]}, and the page says {fewest} to {most}")
    return told


@dataclass(frozen=True)
class Served:
    """A stack with workers of both transports, each in a pool of its own."""

    stack: Stack
    ingress: str


@pytest.fixture(scope="module", params=["direct", "stream"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("traffic") / "worker.log"
    environment = {"NOETL_INGRESS": request.param, "NOETL_WORKER_TRANSPORT": "nats"}
    with running_stack(environment=environment) as stack:
        worker = stack.start_worker(
            "over-http", log=log, NOETL_WORKER_TRANSPORT="http", WORKER_POOL_NAME=POOLS["http"]
        )
        try:
            yield Served(stack, request.param)
        finally:
            worker.terminate()
            try:
                worker.wait(timeout=PATIENCE_SECONDS)
            except TimeoutExpired:
                worker.kill()


@pytest.fixture(params=["nats", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def traffic(served: Served, transport: str) -> Iterator[Traffic]:
    with traffic_of(
        served.stack,
        transport=transport,
        is_direct=served.ingress == "direct",
        not_counted=not_counted(PAGE),
    ) as traffic:
        yield traffic


@pytest.fixture
def table(served: Served, transport: str) -> Table:
    return table_of(PAGE, transport, served.ingress)


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
    """Return the counts of an execution, and how the table differs if it was disturbed.

    Raises:
        AssertionError: it was not, and all that is to be sent for it has been.
    """
    looks = 0

    def look() -> tuple[Counter[str], list[str]] | None:
        nonlocal looks
        count = played.count()
        told = differences(table, played.kinds, count.of)
        if count.is_disturbed or (count.is_whole and not told):
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
    # Whatever else has passed is named, too; what was late has taken the stream.
    others = {one.family for one in traffic.messages} - table.keys() - {INGRESS_ROOT}
    assert others <= traffic.not_counted


def test_the_tables_name_subjects_that_there_are() -> None:
    for transport, ingress in TABLES:
        named = {key for key in table_of(PAGE, transport, ingress) if key.startswith("noetl")}

        assert named.isdisjoint(not_counted(PAGE))
        assert {key for key in named if not is_sent(key)} <= METRICS.keys()
    assert [one for one in not_counted(PAGE) if one.startswith("noetl") and not is_sent(one)] == []


def is_sent(family: str) -> bool:
    operations = {
        f"noetl_rpc.{one.service}.{'<shard>' if one.scope == 'shard' else 'cluster'}.{one.name}"
        for one in all_operations()
    }
    return family in operations or root_of(family) == family


def test_the_picture_has_the_subjects_of_the_tables() -> None:
    picture = PAGE.partition("```\n")[2].partition("```")[0]
    drawn = {root_of(word) for word in re.findall(r"noetl[\w.]+", picture)}
    tables = [table_of(PAGE, *key) for key in TABLES]

    assert drawn == {root_of(key) for table in tables for key in table} - {None}


_TABLE = (
    "#### Workers over HTTP\n\n"
    f"| what | {' | '.join(COLUMNS)} | who |\n|---|---|---|---|---|---|\n"
    "| `noetl.commands.<pool>` | 1 | 1 | 1 | 1 | the relay |\n"
    "| answers | 2 | 0\N{EN DASH}1 | 2 |  | x |\n\n"
    "#### Workers over HTTP, where all is stored first\n\n"
    f"| what | {' | '.join(COLUMNS)} | who |\n|---|---|---|---|---|---|\n"
    "| answers | 0 | 0 | 0 | 0 | x |\n| `noetl_ingress.…` | 1 | 1 | 1 | 1 | x |\n"
    "#### Of no step\n\n| what | who |\n|---|---|\n"
    "| `noetl_hint.moved.<shard>`, `$JS.API.STREAM.INFO.…` | x |\n"
)


def test_a_subject_too_few_one_too_many_and_another_number_are_differences() -> None:
    table = table_of(_TABLE, "http", "direct")

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


def test_a_table_of_the_stream_changes_rows_and_takes_some_away() -> None:
    assert table_of(_TABLE, "http", "stream") == {
        "noetl.commands": [(1, 1), (1, 1), (1, 1), (1, 1)],
        "noetl_ingress": [(1, 1), (1, 1), (1, 1), (1, 1)],
    }
    again = _TABLE.replace("| answers | 0 | 0 | 0 | 0 |", "| `noetl.commands.x` | 1 | 1 | 1 | 1 |")
    with pytest.raises(AssertionError, match="is the same with both"):
        table_of(again, "http", "stream")


def test_what_belongs_to_no_step_is_named_and_not_guessed() -> None:
    assert not_counted(_TABLE) == {"noetl_hint.moved", "$JS.API.STREAM.INFO"}
    assert family_of("noetl_rpc.catalog.cluster.runtime.heartbeat") != family_of(
        "noetl_rpc.catalog.cluster.runtime.liveness"
    )
    with pytest.raises(ValueError, match="nobody sends to"):
        family_of("unknown.subject")
