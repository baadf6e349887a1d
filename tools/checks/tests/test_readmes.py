from collections.abc import Callable
from pathlib import Path

import pytest
import readmes
from noetl_contract.documents.broker_logins import BrokerUser

ROOT = Path(__file__).resolve().parents[3]
OUTBOX = "services/outbox/README.md"


def test_the_readmes_of_all_services_are_true() -> None:
    assert list(readmes.find(ROOT)) == []


@pytest.mark.parametrize(
    ("subject", "root"),
    [
        ("noetl_write.0.3.17.outcome", "noetl_write"),
        ("noetl_hint.published.*.*.*", "noetl_hint.published"),
        ("noetl_hint.pauses", "noetl_hint.pauses"),
        ("noetl.commands", "noetl.commands"),
        ("noetl_rpc.catalog.cluster.resolve", "noetl_rpc.catalog"),
        ("noetl_rpc.>", "noetl_rpc"),
        ("$O.noetl_results.>", "$O"),
        ("noetl_hint.pausesx", None),
        ("noetl_rpc.api-gateway.>", None),
        ("$JS.API.STREAM.INFO.noetl_ingress", None),
        ("_INBOX_noetl.outbox.>", None),
    ],
)
def test_a_subject_has_the_root_of_its_channel(subject: str, root: str | None) -> None:
    assert readmes.root_of(subject) == root


def test_who_acknowledges_messages_of_a_stream_receives_them() -> None:
    user = BrokerUser("x", ("$JS.ACK.noetl_commits.>", "noetl_dead.*"), ("noetl_hint.watch",))

    assert readmes.rights(user) == ({"noetl_commits", "noetl_hint.watch"}, {"noetl_dead"})


def test_a_subject_too_few_and_one_too_many_are_found(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    text = (ROOT / OUTBOX).read_text()
    hint = next(line for line in text.splitlines() if line.startswith("| `noetl_hint.published"))
    plant(OUTBOX, text.replace(f"{hint}\n", "| `noetl_write.<shard>` | it came | |\n"))

    assert list(readmes.find(tmp_path)) == [
        f"{OUTBOX}: the table below `Messages received` lacks `noetl_hint.published`",
        f"{OUTBOX}: below `Messages received` is `noetl_write`, which the service may not use",
    ]


def test_what_only_the_text_names_is_in_no_table(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    text = (ROOT / OUTBOX).read_text()
    head, title, rest = text.partition(f"## {readmes.SENT}\n")
    plant(OUTBOX, f"{head}It sends on `noetl.commands`, `noetl_commits` and others.\n")
    assert title
    assert rest

    found = list(readmes.find(tmp_path))

    assert f"{OUTBOX}: the table below `{readmes.SENT}` lacks `noetl.commands`" in found


def test_a_service_without_a_readme_is_found(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant("services/outbox/pyproject.toml", "")

    assert list(readmes.find(tmp_path)) == [f"{OUTBOX} is not there"]


def test_a_room_too_few_and_one_too_many_are_found(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    for name in ("__init__", "app", "turn/__init__", "log/store"):
        plant(f"services/x/src/noetl_x/{name}.py", "")
    place = "services/x/README.md"
    table = "| room | holds |\n|---|---|\n| `turn/` | `decisions` |\n| `gone/` | x |\n"
    plant(place, f"# x\n\n{table}\n| `a` | b |\n")

    assert list(readmes.find(tmp_path)) == [
        f"{place}: the table of its rooms lacks `log`",
        f"{place}: there is no room `gone`",
    ]
    plant(place, "# x\n")
    assert list(readmes.find(tmp_path)) == [f"{place} has no table `room | holds`"]


def test_a_table_of_modules_has_modules_and_folders(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    for name in ("__init__", "app", "kept", "turn/__init__"):
        plant(f"packages/x/src/noetl_x/{name}.py", "")
    place = "packages/x/README.md"
    plant(place, "| module | holds |\n|---|---|\n| `app`, `old` | x |\n| `turn` | x |\n")

    assert list(readmes.find(tmp_path)) == [
        f"{place}: the table of its modules lacks `kept`",
        f"{place}: there is no module `old`",
    ]
    plant(place, "# A package without a table\n")
    assert list(readmes.find(tmp_path)) == []
