"""W5: the owner of a request key, and the request that it stands for."""

import pytest

from services.orchestrator.tests.shard import Shard

_OTHER = "Idempotency-Key was used for another request: path, payload, pool or parent differ"


@pytest.mark.parametrize("other", [{"payload": {"sum": 2}}, {"path": "demo/other"}])
async def test_w5_another_request_under_a_key_is_refused(
    shard: Shard, other: dict[str, object]
) -> None:
    """A second payment under the first one's key would be taken for done."""
    await shard.open_replica()
    first = shard.start_message(idempotency_key="k") | {"payload": {"sum": 1}}
    second = shard.start_message(idempotency_key="k") | {"payload": {"sum": 1}} | other
    same = shard.start_message(idempotency_key="k") | {"payload": {"sum": 1}}

    await shard.send(first["execution_id"], first)
    refused = await shard.send(second["execution_id"], second)
    repeated = await shard.send(same["execution_id"], same)

    assert (refused["status"], refused["error"]) == (422, _OTHER)
    assert repeated["body"]["status"] == "duplicate"
    assert await shard.state(second["execution_id"]) is None


@pytest.mark.parametrize("field", ["idempotency_key", "dedup_key"])
async def test_w5_callers_do_not_meet_the_keys_of_others(shard: Shard, field: str) -> None:
    """The answer `duplicate` would disclose the id of another caller's execution."""
    await shard.open_replica()
    statuses = []
    for actor in ("ada", "eve", "ada"):
        message = shard.start_message(**{field: "k"}) | {"actor": actor}
        answer = await shard.send(message["execution_id"], message)
        statuses.append(answer["body"]["status"])

    assert statuses == ["started", "started", "duplicate"]
