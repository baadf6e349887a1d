"""Failures are grouped, kept when dismissed, and gone from the open ones when restarted."""

import pytest
from noetl_contract.http.executions.failures import FailureDismissAnswer, FailureList
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc.triage import (
    FAILURES_DISMISS,
    FAILURES_LIST,
    FAILURES_OF,
    Dismissal,
    FailuresOf,
    FailuresPage,
)
from noetl_pg.database import Database
from noetl_projector.known_secrets import KnownSecrets
from noetl_projector.projection.store import ProjectionStore
from noetl_projector.triage.failures import FailureStore
from noetl_projector.triage.handlers import TriageHandlers
from noetl_projector.triage.open_work import OpenWorkStore

from services.projector.tests.conftest import AddLog, Ask, Pool

STARTED = {"event_type": "playbook_started", "context": {"workload": {"password": "hunter2222"}}}


def failed(message: str, step: str = "load", **meta: Json) -> JsonObject:
    cause = {"step": step, "kind": "tool", "message": message}
    return {
        "event_type": "playbook.failed",
        "node": "playbook",
        "meta": {"failed_steps": [step], "cause": cause, **meta},
    }


@pytest.fixture
def ask_triage(db: Database) -> Ask:
    handlers = TriageHandlers(FailureStore(db), OpenWorkStore(db), secrets=KnownSecrets(db))
    return Ask(handlers.handlers())


async def groups(ask: Ask, **page: Json) -> list[tuple[str | None, str, int]]:
    answer = await ask(FAILURES_LIST, FailuresPage.model_validate(page))
    found = FailureList.model_validate(answer.body)
    return [(one.step, one.message, one.count) for one in found.failures]


async def test_failures_are_grouped_by_what_they_have_in_common(
    store: ProjectionStore, ask_triage: Ask, add_log: AddLog
) -> None:
    for number, text in enumerate(("HTTP error: 503 in try 1", "HTTP error: 502 in try 9"), 1):
        await add_log(number, [STARTED, failed(text)], status="FAILED")
    await add_log(3, [STARTED, failed("no such table", "save")], status="FAILED")
    await add_log(4, [STARTED, {"event_type": "playbook.completed"}], status="COMPLETED")
    await add_log(5, [STARTED, failed("HTTP error: 1 in try 1")], status="FAILED", path="other")
    await store.move_executions([1, 2, 3, 4, 5])
    await store.move_executions([1, 2, 3, 4, 5])

    assert sorted(await groups(ask_triage), key=repr) == sorted(
        [
            ("load", "HTTP error: 502 in try 9", 2),
            ("load", "HTTP error: 1 in try 1", 1),
            ("save", "no such table", 1),
        ],
        key=repr,
    )
    assert await groups(ask_triage, step="save") == [("save", "no such table", 1)]
    assert await groups(ask_triage, path="OTH") == [("load", "HTTP error: 1 in try 1", 1)]
    assert len(await groups(ask_triage, limit=2)) == 2
    assert len(await groups(ask_triage, limit=2, offset=2)) == 1


async def test_a_page_that_is_cut_says_that_there_is_more(
    store: ProjectionStore, ask_triage: Ask, add_log: AddLog, pool: Pool
) -> None:
    await add_log(1, [STARTED, failed("one")], status="FAILED")
    await store.move_executions([1])
    await pool.execute(
        """
        INSERT INTO noetl.failure
            (execution_id, path, version, kind, fingerprint, message, failed_at)
        SELECT n, 'p', 1, 'tool', 'f' || n, 'two', now() FROM generate_series(2, 201) AS n
        """
    )

    async def page(limit: int) -> tuple[int, bool]:
        answer = await ask_triage(FAILURES_LIST, FailuresPage(limit=limit))
        found = FailureList.model_validate(answer.body)
        return len(found.failures), found.is_complete

    # As an edge with several shards asks for a page that lies far behind.
    assert await page(300) == (200, False)
    assert await page(100) == (100, True)


async def test_a_log_without_a_cause_has_its_step_and_text(
    store: ProjectionStore, ask_triage: Ask, add_log: AddLog
) -> None:
    end = {
        "event_type": "playbook.failed",
        "meta": {"failed_steps": ["a", "b"], "error": "Failed steps: a, b"},
    }
    await add_log(1, [STARTED, end], status="FAILED")
    await store.move_executions([1])

    assert await groups(ask_triage) == [("a", "Failed steps: a, b", 1)]


async def test_secrets_of_the_workload_are_masked(
    store: ProjectionStore, ask_triage: Ask, add_log: AddLog
) -> None:
    await add_log(1, [STARTED, failed("login with hunter2222 refused")], status="FAILED")
    await store.move_executions([1])

    ((_, message, _),) = await groups(ask_triage)
    assert "hunter2222" not in message


async def test_what_is_dismissed_is_kept_and_stays_so_over_a_rebuild(
    store: ProjectionStore, ask_triage: Ask, add_log: AddLog, pool: Pool
) -> None:
    for number in (1, 2, 3):
        await add_log(number, [STARTED, failed("broke")], status="FAILED")
    await store.move_executions([1, 2, 3])
    fingerprint = await pool.fetchval("SELECT fingerprint FROM noetl.failure LIMIT 1")

    answers = []
    for _ in range(3):
        wanted = Dismissal(fingerprint=fingerprint, limit=2, actor="eve")
        answer = await ask_triage(FAILURES_DISMISS, wanted)
        told = FailureDismissAnswer.model_validate(answer.body)
        answers.append((told.dismissed, told.has_more))
    await store.rebuild_page(after=None, limit=100)

    assert answers == [(2, True), (1, False), (0, False)]
    assert await groups(ask_triage) == []
    assert await groups(ask_triage, state="dismissed") == [("load", "broke", 3)]
    who = await pool.fetch("SELECT DISTINCT dismissed_by FROM noetl.failure")
    assert [row["dismissed_by"] for row in who] == ["eve"]


async def test_what_is_restarted_is_open_no_more(
    store: ProjectionStore, ask_triage: Ask, add_log: AddLog, pool: Pool
) -> None:
    await add_log(1, [STARTED, failed("broke")], status="FAILED")
    await add_log(2, [STARTED, failed("broke")], status="FAILED")
    await store.move_executions([1, 2])
    fingerprint = await pool.fetchval("SELECT fingerprint FROM noetl.failure LIMIT 1")
    await pool.execute("INSERT INTO noetl.restart VALUES (9, 1)")
    await add_log(9, [STARTED])
    await store.move_executions([9])

    answer = await ask_triage(FAILURES_OF, FailuresOf(fingerprint=fingerprint, limit=10))
    assert answer.body == {"execution_ids": [2], "has_more": False}
    assert await groups(ask_triage, state="restarted") == [("load", "broke", 1)]

    await pool.execute("DELETE FROM noetl.failure")
    await store.rebuild_page(after=None, limit=100)
    assert await groups(ask_triage, state="restarted") == [("load", "broke", 1)]


async def test_failures_of_executions_that_are_gone_go_too(
    store: ProjectionStore, ask_triage: Ask, add_log: AddLog, pool: Pool
) -> None:
    await add_log(1, [STARTED, failed("broke")], status="FAILED")
    await store.move_executions([1])
    await pool.execute("DELETE FROM noetl.execution_state")
    await store.rebuild_page(after=None, limit=100)

    assert await groups(ask_triage, state="all") == []
