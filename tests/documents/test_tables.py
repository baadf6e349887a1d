"""The README of a service and the page on the architecture name the tables that its role may use.

They are compared with what the database grants (`noetl.service_rights()`).
"""

import asyncio
import re
from collections import defaultdict

import asyncpg
import pytest
from fenced import ROOT
from noetl_contract.documents.broker_logins import SERVICES
from noetl_testkit.stack import Stack

_OF_ALL = frozenset({"schema_migrations", "shard_identity"})
"""Tables of no service: every process looks at them when it starts."""
_NAME = re.compile(r"`(\w+)`")

type Tables = dict[str, set[str]]


async def _granted(dsn: str) -> tuple[Tables, Tables]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT * FROM noetl.service_rights()")
    finally:
        await connection.close()
    written: Tables = defaultdict(set)
    read: Tables = defaultdict(set)
    for row in rows:
        if row["table_name"] not in _OF_ALL:
            kind = read if row["privileges"] == "SELECT" else written
            kind[row["role_name"].removeprefix("noetl_")].add(row["table_name"])
    return written, read


def _row(page: str, begin: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(begin))
    return line.strip("| ").split(" | ")


@pytest.fixture
def granted(nats_stack: Stack) -> tuple[Tables, Tables]:
    return asyncio.run(_granted(nats_stack.dsn()))


@pytest.mark.e2e
def test_readmes_name_the_tables_that_their_services_may_use(
    granted: tuple[Tables, Tables],
) -> None:
    for service in SERVICES:
        page = (ROOT / "services" / service / "README.md").read_text()
        written, read = (kind[service] for kind in granted)
        if not written | read:
            assert "## Tables" not in page
            continue

        assert set(_NAME.findall(_row(page, "| writes |")[1])) == written, service
        assert set(_NAME.findall(_row(page, "| only reads |")[1])) == read, service


@pytest.mark.e2e
def test_the_page_names_what_services_write(granted: tuple[Tables, Tables]) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    written, _ = granted

    named = {one: set(_NAME.findall(_row(page, f"| `{one}` |")[-1])) for one in SERVICES}

    assert named == {one: written[one] for one in SERVICES}
