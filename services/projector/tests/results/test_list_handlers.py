"""Lists, deletion and statistics of stored results."""

import pytest
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.projector import RESULT_DELETE, RESULT_LIST, RESULT_STATS, ResultFilter

from services.projector.tests.conftest import Ask, Pool


@pytest.fixture(autouse=True)
async def results(pool: Pool) -> None:
    for result_id, execution_id, name, scope in (
        (11, 1, "fetch", "execution"),
        (12, 1, "fetch", "workflow"),
        (13, 1, "load", "execution"),
        (14, 2, "fetch", "execution"),
    ):
        await pool.execute(
            "INSERT INTO noetl.result_store (result_id, execution_id, name, scope, source_step,"
            " data, bytes, sha256) VALUES ($1, $2, $3, $4, $3, '1', 5, 'x')",
            result_id,
            execution_id,
            name,
            scope,
        )


async def test_results_are_listed_by_scope_and_name(ask: Ask) -> None:
    every = (await ask(RESULT_LIST, ResultFilter(execution_id=1))).body
    some = (await ask(RESULT_LIST, ResultFilter(execution_id=1, scope="workflow"))).body
    named = (await ask(RESULT_LIST, ResultFilter(execution_id=1, name="load"))).body

    assert (every["count"], some["count"], named["count"]) == (3, 1, 1)
    assert {**every["results"][0], "created_at": ""} == {
        "ref": "noetl://execution/1/result/fetch/11",
        "name": "fetch",
        "scope": "execution",
        "source_step": "fetch",
        "store": "db",
        "bytes": 5,
        "sha256": "x",
        "created_at": "",
        "expires_at": None,
    }


async def test_what_is_deleted_is_gone_and_the_rest_stays(ask: Ask) -> None:
    by_scope = await ask(RESULT_DELETE, ResultFilter(execution_id=1, scope="execution"))
    by_name = await ask(RESULT_DELETE, ResultFilter(execution_id=1, name="fetch"))
    stats = await ask(RESULT_STATS, Nothing())

    assert by_scope.body == {"execution_id": 1, "deleted": 2}
    assert by_name.body == {"execution_id": 1, "deleted": 1}
    assert stats.body == {"stores": [{"store": "db", "results": 1, "bytes": 5}]}
