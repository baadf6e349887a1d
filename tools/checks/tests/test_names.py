from collections.abc import Callable
from pathlib import Path

import names
import pytest

type Plant = Callable[[str, str], None]

MODULE = """
from collections import Counter

LIMIT: int = 5
type Row = dict[str, int]


class Relay:
    size: int

    def send(self) -> None: ...
"""


@pytest.fixture
def checkout(plant: Plant) -> Plant:
    """Return the planter of a checkout with one package, its document and a guide."""
    plant("services/outbox/src/noetl_outbox/__init__.py", "")
    plant("services/outbox/src/noetl_outbox/turn/__init__.py", "")
    plant("services/outbox/src/noetl_outbox/turn/relay.py", MODULE)
    plant("services/outbox/src/noetl_outbox/queries.sql", "")
    plant("libs/noetl_engine/settings.py", "")
    plant("docs/guide.md", "# Guide\n")
    plant("docs/long-name.md", "# Name\n")
    return plant


@pytest.mark.parametrize(
    "text",
    [
        "`noetl_outbox.turn`, `noetl_outbox.turn.relay` and `python -m noetl_outbox.turn.relay`",
        "`noetl_outbox.turn.relay.LIMIT`, `noetl_outbox.turn.relay.Relay.send(row)`",
        "`noetl_outbox.turn.relay.Row`, `noetl_outbox.turn.relay.Relay.size`",
        "`noetl_outbox.turn.relay.Counter`",
        "`noetl_rpc.outbox.<shard>`, `noetl_ingress.0.7`",
        "`services/outbox`, `services/outbox/src/noetl_outbox/queries.sql`, `docs/long-name.md`",
        "`turn/relay.py`, `turn/`, `noetl_outbox/queries.sql`, `settings.py`",
        "`migrations/NNNN_subject.sql`, `/schema/openapi.json`, `cases/<topic>.yaml`, `GET /a/b`",
        "```yaml\npath: docs/digest.md\n```",
        "```sh\npytest services/outbox/src/noetl_outbox/turn/relay.py  # not gone/away.py\n```",
    ],
)
def test_what_is_there_may_be_named(text: str, checkout: Plant, tmp_path: Path) -> None:
    checkout("README.md", f"{text}\n")

    assert list(names.find(tmp_path)) == []


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("`noetl_outbox.relay`", "noetl_outbox.relay"),
        ("`noetl_outbux.turn`", "noetl_outbux.turn"),
        ("`noetl_outbox.turn.relay.LIMITS`", "noetl_outbox.turn.relay.LIMITS"),
        ("`noetl_outbox.turn.relay.Relay.sent`", "noetl_outbox.turn.relay.Relay.sent"),
        ("`noetl_outbox.turn.relay.LIMIT.real`", "noetl_outbox.turn.relay.LIMIT.real"),
    ],
)
def test_names_that_are_gone_are_found(
    text: str, gone: str, checkout: Plant, tmp_path: Path
) -> None:
    checkout("README.md", f"# Title\n\n```sh\nls\n```\n\n{text}\n")

    assert list(names.find(tmp_path)) == [f"README.md:7: there is no `{gone}`"]


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("`docs/gone.md`", "docs/gone.md"),
        ("`turn/relays.py`", "turn/relays.py"),
        ("`turns/`", "turns/"),
        ("`services/outboxes`", "services/outboxes"),
        ("`away.py`", "away.py"),
        ("```sh\npytest tests/away.py\n```", "tests/away.py"),
    ],
)
def test_paths_that_lead_nowhere_are_found(
    text: str, gone: str, checkout: Plant, tmp_path: Path
) -> None:
    checkout("README.md", f"{text}\n")

    line = 2 if text.startswith("```") else 1
    assert list(names.find(tmp_path)) == [
        f"README.md:{line}: there is no `{gone}` in this repository"
    ]


def test_a_package_names_its_own_files(checkout: Plant, tmp_path: Path) -> None:
    checkout("services/outbox/README.md", "`queries.sql` `turn/` `settings.py` `docs/guide.md`\n")

    assert list(names.find(tmp_path)) == [
        "services/outbox/README.md:1: there is no `settings.py` in this repository"
    ]


def test_the_past_may_name_what_is_gone(checkout: Plant, tmp_path: Path) -> None:
    checkout("CHANGELOG.md", "`noetl_outbox.relay` `away.py`\n")

    assert list(names.find(tmp_path)) == []


def test_files_that_a_page_has_written_are_there(checkout: Plant, tmp_path: Path) -> None:
    checkout("docs/a.md", "<!-- file: first.yaml -->\n```yaml\na: 1\n```\n\nRun `first.yaml`.\n")
    checkout("docs/b.md", "```sh\ncat > data.json <<END\nEND\n```\n\n`data.json`, `other.json`\n")

    assert list(names.find(tmp_path)) == [
        "docs/b.md:6: there is no `other.json` in this repository"
    ]
