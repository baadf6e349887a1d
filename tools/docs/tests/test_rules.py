from pathlib import Path

import pytest
import rules


@pytest.mark.parametrize("name", rules.PAGES)
def test_places_of_tests_follow_their_moves(name: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "services/outbox/tests/relay").mkdir(parents=True)
    moved = tmp_path / "services/outbox/tests/relay/test_sweep.py"
    moved.write_text("async def test_rows_go_out() -> None: ...\n")
    (tmp_path / name).write_text(
        "| O2 | `outbox/test_relay.py::test_rows_go_out`, `outbox/test_relay.py::test_gone` |\n"
    )

    assert rules.page(name, tmp_path) == (
        "| O2 | `outbox/relay/test_sweep.py::test_rows_go_out`, "
        "`outbox/test_relay.py::test_gone` |\n"
    )
