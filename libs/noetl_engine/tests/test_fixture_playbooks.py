"""The contract's playbooks with tools that succeed with empty data: its numbers of rows."""

from pathlib import Path

import pytest
from engine_driver import Run
from noetl_engine.playbook import parse_playbook

PLAYBOOKS = Path(__file__).parents[4] / "shared" / "playbooks"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not PLAYBOOKS.exists(), reason="the contract material is not there"),
]

ROWS = {
    "actions_test": 48,
    "comprehensive_test": 26,
    "hello_world": 19,
    "http_to_postgres_simple": 43,
    "iterator_save_test": 35,
    "json_serialization_save": 31,
    "playbook_composition": 46,
    # The original server stops at 49: its `end` waits for a step that nothing leads to.
    "postgres_jsonb_test": 55,
    "test_end_with_action": 20,
    "test_implicit_end_routing": 13,
}


def find(name: str) -> Path:
    return next(PLAYBOOKS.rglob(f"{name}.yaml"))


@pytest.mark.parametrize("name", ROWS)
def test_a_fixture_writes_as_many_rows_as_the_contract_says(name: str) -> None:
    run = Run(parse_playbook(find(name).read_text())).start().work_all(data={})

    assert run.ended == ["COMPLETED"], run.story
    assert len(run.rows) == ROWS[name], run.story


@pytest.mark.parametrize(
    "path", sorted(PLAYBOOKS.rglob("*.yaml")) if PLAYBOOKS.exists() else [], ids=lambda p: p.stem
)
def test_every_fixture_comes_to_one_end(path: Path) -> None:
    """With any answers of the tools; with empty data some guards can't be evaluated."""
    run = Run(parse_playbook(path.read_text())).start()
    for _ in range(500):
        if not run.open:
            break
        run.work(run.label(run.open[0]), data={})

    assert len(run.ended) == 1, run.story
