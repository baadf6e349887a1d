"""Suites of tests: stored fields, names, and the callers that reach them."""

from noetl_contract.json import JsonObject

from services.catalog.tests.world import Ask

TESTS = [{"name": "says hello", "payload": {"n": 1}, "nothing": None}]


def caller(*namespaces: str) -> JsonObject:
    return {"name": "ann", "kind": "key", "roles": ["author"], "namespaces": list(namespaces)}


async def test_a_suite_is_kept_replaced_and_deleted(ask: Ask) -> None:
    first = await ask("suite.put", suite_id="a/b", playbook_path="demo/hello", tests=TESTS)
    again = await ask(
        "suite.put", suite_id="/a/b", playbook_path="demo/bye", tests=[], metadata={"k": 1}
    )
    found = await ask("suite.get", suite_id="a/b")
    gone = await ask("suite.delete", suite_id="a/b")

    assert list(first.body) == [
        "suite_id",
        "file_path",
        "playbook_path",
        "tests",
        "metadata",
        "updated_at",
    ]
    assert (first.body["file_path"], first.body["tests"]) == ("a/b.json", TESTS)
    assert found.body == again.body
    assert (found.body["playbook_path"], found.body["metadata"]) == (
        "demo/bye",
        {"k": 1},
    )
    assert gone.body == {"status": "success", "suite_id": "a/b", "file_path": "a/b.json"}
    for operation in ("suite.get", "suite.delete"):
        reply = await ask(operation, suite_id="a/b")
        assert (reply.status, reply.error) == (404, "Test suite 'a/b' not found")


async def test_an_id_is_that_of_a_file_below_a_folder(ask: Ask) -> None:
    kept = await ask("suite.put", suite_id="/ä b/c:d.", playbook_path="p", tests=[])
    refused = [
        await ask("suite.put", suite_id=one, playbook_path="p", tests=[])
        for one in ("", "..", "a/../b", "a//b", "x" * 501, "../a", "a/..")
    ]

    assert kept.body["suite_id"] == "__b/c_d"
    assert [reply.status for reply in refused] == [400] * 7
    assert refused[2].error == "Invalid test suite id 'a/../b'"


async def test_a_suite_is_in_reach_of_those_who_reach_its_playbook(ask: Ask) -> None:
    mine, others = caller("mine/"), caller("others/")
    wanted: JsonObject = {"suite_id": "s", "playbook_path": "mine/p", "tests": []}

    assert (await ask("suite.put", **wanted, principal=others)).status == 403
    assert (await ask("suite.put", **wanted, principal=mine)).status == 200
    assert (await ask("suite.get", suite_id="s", principal=mine)).status == 200
    assert (await ask("suite.get", suite_id="s", principal=others)).status == 404
    assert (await ask("suite.delete", suite_id="s", principal=others)).status == 404
    # Nor is it taken over under its name.
    taken = wanted | {"playbook_path": "others/p"}
    assert (await ask("suite.put", **taken, principal=others)).status == 403
    assert (await ask("suite.delete", suite_id="s", principal=mine)).status == 200
