"""Variables of executions."""

from noetl_contract.http.executions.variables import NewVar, VarEntry
from noetl_contract.json import Json
from noetl_contract.rpc.projector import (
    VARS_CLEAR,
    VARS_DELETE,
    VARS_GET,
    VARS_LIST,
    VARS_SET,
    ExecutionName,
    VarName,
    VarsSet,
)

from services.projector.tests.conftest import Ask, Pool


def var(name: str, value: Json, **others: str) -> NewVar:
    return NewVar(var_name=name, var_value=value, **others)


async def test_variables_are_listed_by_name_with_every_key(ask: Ask) -> None:
    values = [
        var("b", {"n": [1, None]}, var_type="computed", source_step="start"),
        var("a", None),
    ]

    done = await ask(VARS_SET, VarsSet(execution_id=7, variables=values))
    listed = (await ask(VARS_LIST, ExecutionName(execution_id=7))).body

    assert done.body == {"execution_id": 7, "status": "ok", "variables_set": 2}
    for entry in listed:
        VarEntry.model_validate(entry, strict=True)
        assert list(entry) == list(VarEntry.model_fields)
        assert entry["created_at"] == entry["accessed_at"]
    assert [
        (one["var_name"], one["var_type"], one["var_value"], one["source_step"]) for one in listed
    ] == [("a", "user_defined", None, None), ("b", "computed", {"n": [1, None]}, "start")]
    assert (await ask(VARS_LIST, ExecutionName(execution_id=8))).body == []


async def test_reading_counts_and_writing_again_keeps_the_count(ask: Ask) -> None:
    await ask(VARS_SET, VarsSet(execution_id=7, variables=[var("a", 1)]))

    first = (await ask(VARS_GET, VarName(execution_id=7, var_name="a"))).body
    await ask(
        VARS_SET, VarsSet(execution_id=7, variables=[var("a", 2), var("a", 3, var_type="computed")])
    )
    second = (await ask(VARS_GET, VarName(execution_id=7, var_name="a"))).body

    assert (first["access_count"], first["var_value"]) == (1, 1)
    assert (second["access_count"], second["var_value"], second["var_type"]) == (2, 3, "computed")
    assert second["created_at"] == first["created_at"]
    assert second["accessed_at"] > first["accessed_at"]


async def test_a_wrong_type_keeps_what_stands_before_it(ask: Ask) -> None:
    values = [var("a", 1), var("b", 2, var_type="odd"), var("c", 3)]

    refused = await ask(VARS_SET, VarsSet(execution_id=7, variables=values))

    assert (refused.status, refused.error) == (422, "Invalid var_type: odd")
    assert [
        one["var_name"] for one in (await ask(VARS_LIST, ExecutionName(execution_id=7))).body
    ] == ["a"]


async def test_variables_are_removed_one_by_one_and_all_at_once(ask: Ask) -> None:
    await ask(
        VARS_SET, VarsSet(execution_id=7, variables=[var(name, name) for name in ("a", "b", "c")])
    )
    await ask(VARS_SET, VarsSet(execution_id=8, variables=[var("a", 1)]))

    one = await ask(VARS_DELETE, VarName(execution_id=7, var_name="a"))
    again = await ask(VARS_DELETE, VarName(execution_id=7, var_name="a"))
    rest = await ask(VARS_CLEAR, ExecutionName(execution_id=7))
    none = await ask(VARS_CLEAR, ExecutionName(execution_id=7))

    assert one.body == {"execution_id": 7, "var_name": "a", "status": "deleted"}
    assert (again.status, again.error) == (404, "Variable not found: a for execution 7")
    assert rest.body == {"execution_id": 7, "status": "ok", "variables_deleted": 2}
    assert none.body["variables_deleted"] == 0
    assert (await ask(VARS_GET, VarName(execution_id=8, var_name="a"))).status == 200
    assert (await ask(VARS_GET, VarName(execution_id=7, var_name="b"))).status == 404


async def test_numbers_come_back_exactly(ask: Ask, pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO noetl.transient (execution_id, var_name, var_type, var_value)"
        " VALUES (7, 'n', 'computed', '123456789012345678901234567890')"
    )

    body = (await ask(VARS_GET, VarName(execution_id=7, var_name="n"))).body

    assert body["var_value"] == 123456789012345678901234567890
