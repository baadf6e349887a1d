"""Lists, deletions and sizes of stored results, under both of their names."""

import pytest

from ...conftest import EXECUTION_ID, World


@pytest.mark.parametrize("root", ["result", "temp"])
async def test_results_are_listed_deleted_and_measured(world: World, root: str) -> None:
    listed = {"execution_id": EXECUTION_ID, "results": [], "count": 0}
    world.backend.answer("result.list", listed)
    world.backend.answer("result.delete", {"execution_id": EXECUTION_ID, "deleted": 2})
    stores = [{"store": "s3", "results": 1, "bytes": 5}, {"store": "db", "results": 2, "bytes": 7}]
    world.backend.answer("result.stats", {"stores": stores})
    path = f"/api/{root}/{EXECUTION_ID}"

    plain = await world.get(f"{path}/list")
    await world.get(f"{path}/list?scope=step&step_name=fetch")
    deleted = await world.client.delete(path)
    await world.client.delete(f"{path}?scope=workflow")
    await world.client.delete(f"{path}/step/fetch")
    wrong = await world.client.delete(f"{path}?scope=x")
    stats = await world.get(f"/api/{root}/stats")

    assert plain.json() == listed
    assert (deleted.status_code, deleted.json()["deleted"]) == (200, 2)
    assert wrong.status_code == 400
    assert world.backend.requests("result.list") == [
        {"execution_id": EXECUTION_ID},
        {"execution_id": EXECUTION_ID, "scope": "step", "name": "fetch"},
    ]
    assert world.backend.requests("result.delete") == [
        {"execution_id": EXECUTION_ID, "scope": "execution"},
        {"execution_id": EXECUTION_ID, "scope": "workflow"},
        {"execution_id": EXECUTION_ID, "name": "fetch"},
    ]
    assert stats.json() == {"total_results": 3, "total_bytes": 12, "stores": stores[::-1]}


@pytest.mark.parametrize("root", ["result", "temp"])
async def test_a_result_is_stored_and_read_under_both_names(world: World, root: str) -> None:
    stored = {"ref": "noetl://execution/1/result/a/2", "name": "a", "data": [1]}
    world.backend.answer("result.put", {"ref": stored["ref"]})
    world.backend.answer("result.get", stored)
    world.backend.answer("result.resolve", [1])

    put = await world.client.put(f"/api/{root}/1", json={"name": "a", "data": [1]})
    whole = await world.get(f"/api/{root}/1/a")
    bare = await world.get(f"/api/{root}/1/a?resolve=false")
    data = await world.get(f"/api/{root}/resolve?ref={stored['ref']}")

    assert put.json() == {"ref": stored["ref"]}
    assert whole.json() == stored
    assert bare.json() == {"ref": stored["ref"], "name": "a"}
    assert data.json() == [1]


async def test_names_of_steps_are_read_as_in_every_address(world: World) -> None:
    world.backend.answer("result.delete", {"execution_id": EXECUTION_ID, "deleted": 0})
    path = f"/api/result/{EXECUTION_ID}/step"

    replies = [await world.client.delete(f"{path}/{name}") for name in ("a%2Fb", "a%00b")]
    refused = await world.client.delete(f"{path}/%FF")

    assert [reply.status_code for reply in replies] == [200, 200]
    names = [request["name"] for request in world.backend.requests("result.delete")]
    assert names == ["a/b", "a\N{REPLACEMENT CHARACTER}b"]
    assert refused.status_code == 400
