"""Credentials, keychain and wallet at the edge: requests to the catalog, and refusals."""

import httpx
from noetl_contract.json import Json
from noetl_contract.rpc import RpcReply
from pydantic import SecretStr

from ...conftest import World, make_world

CANARY = "s3cret-canary"
SHAPE = "Failed to deserialize the JSON body into the target type: "
QUERY = "Failed to deserialize query string: "
WORDS = {"name": "n", "data": {"a": 1}}


def refused(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body == {"error": body["error"], "status": answer.status_code, "detail": body["error"]}
    return answer.status_code, body["error"]


async def test_created_as_the_contract_and_pythons_server_spell_it(world: World) -> None:
    world.backend.answer("credential.create", lambda request: {"id": "1", **request})
    cases: list[tuple[Json, Json]] = [
        (WORDS | {"type": "postgres"}, WORDS | {"type": "postgres"}),
        (WORDS | {"credential_type": "x", "notes": 1}, WORDS | {"type": "x"}),
        (WORDS, WORDS),
        (WORDS | {"data": None}, {"name": "n"}),
        (WORDS | {"tags": "a, b,"}, WORDS | {"tags": ["a", "b"]}),
        (WORDS | {"tags": ["a", 1, True]}, WORDS | {"tags": ["a", "1", "true"]}),
        (WORDS | {"tags": None, "meta": None}, WORDS),
        (
            {"name": "", "type": "t", "data": "x", "meta": {"z": 1}, "description": "d"},
            {"name": "", "type": "t", "data": "x", "meta": {"z": 1}, "description": "d"},
        ),
    ]
    for sent, _ in cases:
        answer = await world.post("/api/credentials", sent)
        assert answer.status_code == 200, answer.text

    assert world.backend.requests("credential.create") == [asked for _, asked in cases]
    assert ("credential.create", {"name": "n", "data": None}) in world.backend.asked


_BODIES: list[tuple[Json, int, str]] = [
    (WORDS | {"type": None}, 422, f"{SHAPE}type: invalid type: null, expected a string"),
    ({"data": {}}, 422, f"{SHAPE}missing field `name`"),
    ({"name": "n"}, 422, f"{SHAPE}missing field `data`"),
    (WORDS | {"name": 5}, 422, f"{SHAPE}name: invalid type: integer `5`, expected a string"),
    (
        f'"{CANARY}"'.encode(),
        422,
        f'{SHAPE}invalid type: string "[REDACTED]", expected struct CreateCredentialRequest',
    ),
    (WORDS | {"type": "a", "credential_type": "b"}, 422, f"{SHAPE}duplicate field `type`"),
    (b'{"name":"a","name":"b","data":1}', 422, f"{SHAPE}duplicate field `name`"),
    (WORDS | {"tags": [{}]}, 422, f"{SHAPE}tags[0]: invalid type: map, expected a string"),
    (WORDS | {"tags": 5}, 422, f"{SHAPE}tags: invalid type: integer `5`, expected a sequence"),
    (b"", 400, "Failed to parse the request body as JSON: EOF while parsing a value at "),
    (f'{{"{CANARY}": '.encode(), 400, "Failed to parse the request body as JSON: "),
]


async def test_bodies_without_sense_are_refused_unquoted(world: World) -> None:
    for body, status, text in _BODIES:
        answer = await world.post("/api/credentials", body)

        assert (refused(answer)[0], answer.json()["error"][: len(text)]) == (status, text)
        assert CANARY not in answer.text


async def test_reads_name_what_they_want(world: World) -> None:
    for name in ("list", "get", "delete", "sealed"):
        world.backend.answer(f"credential.{name}", {"ok": name})
    get = world.client.get

    await get("/api/credentials")
    await get("/api/credentials?type=&q=a%25")
    await get("/api/credentials/a%2Fb%20c")
    await get("/api/credentials/a?include_data=TRUE&execution_id=5&parent_execution_id=6&other=1")
    await get("/api/credentials/a/sealed?worker_id=w&execution_id=7")
    deleted = await world.client.delete("/api/credentials/9")

    assert deleted.json() == {"ok": "delete"}
    assert world.backend.requests("credential.list") == [{}, {"type": "", "q": "a%"}]
    assert world.backend.requests("credential.get") == [
        {"identifier": "a/b c", "include_data": False},
        {
            "identifier": "a",
            "include_data": True,
            "execution_id": 5,
            "parent_execution_id": 6,
        },
    ]
    assert world.backend.requests("credential.sealed") == [
        {"identifier": "a", "worker_id": "w", "execution_id": 7}
    ]
    assert world.backend.requests("credential.delete") == [{"identifier": "9"}]


async def test_reads_refuse_what_does_not_parse(world: World) -> None:
    wanted = {
        "/api/credentials/a?include_data=maybe": (
            f"{QUERY}include_data: provided string was not `true` or `false`"
        ),
        "/api/credentials/a?execution_id=x": f"{QUERY}execution_id: invalid digit found in string",
        "/api/credentials/a?execution_id=": (
            f"{QUERY}execution_id: cannot parse integer from empty string"
        ),
        "/api/credentials?type=a&type=b": f"{QUERY}duplicate field `type`",
        "/api/credentials/a/sealed": f"{QUERY}missing field `worker_id`",
        "/api/internal/secret-audit?from=2026-01-01": f"{QUERY}from: input contains invalid",
        "/api/keychain/x/n": "Invalid URL: Cannot parse value at index 0 with value `x` to a `i64`",
        "/api/keychain/catalog/abc": "Invalid URL: Cannot parse `abc` to a `i64`",
    }
    for path, text in wanted.items():
        status, error = refused(await world.get(path))
        assert (status, error[: len(text)]) == (400, text), path


async def test_what_the_catalog_refuses_is_answered_as_it_says(world: World) -> None:
    world.backend.answer(
        "credential.get", RpcReply(status=404, error="Credential 'pg_x' not found")
    )
    world.backend.answer("credential.sealed", RpcReply(status=503, error="no key"))

    missing = await world.get("/api/credentials/pg_x?include_data=true")
    later = await world.get("/api/credentials/pg_x/sealed?worker_id=w")

    assert refused(missing) == (404, "Credential 'pg_x' not found")
    assert (*refused(later), later.headers["retry-after"]) == (503, "no key", "1")


async def test_ids_inside_of_a_secret_are_left_alone(world: World) -> None:
    body = {"id": "1", "data": {"execution_id": 5}}
    world.backend.answer("credential.get", body)
    world.backend.answer("secret.audit", {"rows": [{"audit_id": 5, "execution_id": 6}]})

    secret = await world.get("/api/credentials/a?include_data=1", x_session_token="t")
    audit = await world.get("/api/internal/secret-audit", x_session_token="t")

    assert secret.json() == body
    assert audit.json() == {"rows": [{"audit_id": "5", "execution_id": "6"}]}


async def test_keychain_in_both_spellings(world: World) -> None:
    world.backend.answer("keychain.put", {"status": "success"})
    named = {"catalog_id": 5, "keychain_name": "a/b"}
    cases: list[tuple[Json, Json]] = [
        ({"data": 1}, {"data": 1, "scope_type": "global", "auto_renew": False}),
        (
            {"token_data": {"t": 1}, "ttl_seconds": 60, "credential_type": "c"},
            {
                "data": {"t": 1},
                "scope_type": "global",
                "expires_in": 60,
                "auto_renew": False,
                "credential_type": "c",
            },
        ),
        (
            {
                "data": None,
                "scope_type": "local",
                "execution_id": "7",
                "expires_at": "2030-01-01T01:00:00+01:00",
                "auto_renew": True,
                "renew_config": {"x": 1},
            },
            {
                "scope_type": "local",
                "execution_id": 7,
                "expires_at": "2030-01-01T00:00:00+00:00",
                "auto_renew": True,
                "renew_config": {"x": 1},
            },
        ),
    ]
    for sent, _ in cases:
        assert (await world.post("/api/keychain/5/a%2Fb", sent)).status_code == 200

    assert world.backend.requests("keychain.put") == [named | asked for _, asked in cases]


_KEYCHAIN_BODIES: list[tuple[Json, str]] = [
    ({}, "missing field `data`"),
    ({"data": 1, "token_data": 2}, "duplicate field `data`"),
    ({"data": 1, "expires_in": 1, "ttl_seconds": 2}, "duplicate field `expires_in`"),
    ({"data": 1, "scope_type": None}, "scope_type: invalid type: null, expected a string"),
    ({"data": 1, "auto_renew": CANARY}, 'auto_renew: invalid type: string "[REDACTED]", exp'),
    ({"data": 1, "expires_in": "5"}, 'expires_in: invalid type: string "[REDACTED]", exp'),
    ({"data": 1, "expires_at": CANARY}, "expires_at: input contains invalid characters"),
]


async def test_keychain_bodies_without_sense(world: World) -> None:
    for body, text in _KEYCHAIN_BODIES:
        answer = await world.post("/api/keychain/5/n", body)

        status, error = refused(answer)
        assert (status, error[: len(SHAPE + text)]) == (422, SHAPE + text)
        assert CANARY not in answer.text


async def test_keychain_reads_and_the_static_segment(world: World) -> None:
    for name in ("get", "delete", "list"):
        world.backend.answer(f"keychain.{name}", {"status": name})

    got = await world.get("/api/keychain/5/n?scope_type=local&execution_id=6")
    deleted = await world.client.delete("/api/keychain/5/n")
    listed = await world.get("/api/keychain/catalog/5")
    posted = await world.post("/api/keychain/catalog/5", {"data": 1})

    assert [a.json()["status"] for a in (got, deleted, listed)] == ["get", "delete", "list"]
    named = {"catalog_id": 5, "keychain_name": "n"}
    assert world.backend.requests("keychain.get") == [
        named | {"scope_type": "local", "execution_id": 6}
    ]
    assert world.backend.requests("keychain.delete") == [named | {"scope_type": "global"}]
    assert world.backend.requests("keychain.list") == [{"catalog_id": 5}]
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET,HEAD")


async def test_rotation_is_asked_on_until_it_is_done(world: World) -> None:
    def rotate(request: dict[str, Json]) -> Json:
        is_last = request["table"] == "keychain" or request["after"] == "7"
        counts = {"processed": 2, "rewrapped": 1, "skipped": 1, "failed": 0}
        place = {"last_id": 7 if request["table"] == "credential" else 0, "after": "7"}
        return counts | place | {"batches": 1, "done": is_last}

    world.backend.answer("wallet.rotate", rotate)
    whole = await world.post("/api/internal/wallet/rotate-kek", {"batch_size": 0})
    cut = await world.post("/api/internal/wallet/rotate-kek", {"max_batches": 1})

    once = {"processed": 2, "rewrapped": 1, "skipped": 1, "failed": 0}
    twice = {name: 2 * count for name, count in once.items()}
    assert whole.json() == {
        "credential": twice | {"last_id": 7},
        "keychain": once | {"last_id": 0},
    }
    assert cut.json() == {"credential": once | {"last_id": 7}, "keychain": once | {"last_id": 0}}
    assert [
        (request["table"], request["after"], request["batch_size"], request["max_batches"])
        for request in world.backend.requests("wallet.rotate")
    ] == [
        ("credential", "", 1, 1000),
        ("credential", "7", 1, 999),
        ("keychain", "", 1, 1000),
        ("credential", "", 100, 1),
        ("keychain", "", 100, 1),
    ]


async def test_audit_query_and_cross_region_body(world: World) -> None:
    world.backend.answer("secret.audit", {"rows": []})
    world.backend.answer("credential.cross_region", {"alg": "x"})
    body = {
        "alias": "eu_token",
        "worker_public_key_b64": "k",
        "worker_id": "w-1",
        "execution_id": 383611777386247168,
        "expected_entry_region": "eu-central-1",
    }

    await world.get("/api/internal/secret-audit")
    await world.get(
        "/api/internal/secret-audit?credential=c&execution_id=5&limit=0"
        "&from=2026-01-01T00:00:00Z&to=2026-01-01T02:00:00+01:00"
    )
    await world.post("/api/internal/cross-region/resolve", body)
    wrong = await world.post("/api/internal/cross-region/resolve", {"alias": "a"})

    assert world.backend.requests("secret.audit") == [
        {"limit": 100},
        {
            "credential": "c",
            "execution_id": 5,
            "from": "2026-01-01T00:00:00+00:00",
            "to": "2026-01-01T01:00:00+00:00",
            "limit": 0,
        },
    ]
    assert world.backend.requests("credential.cross_region") == [body]
    assert refused(wrong) == (422, f"{SHAPE}missing field `worker_public_key_b64`")


async def test_token_api_is_refused_by_name(world: World) -> None:
    answer = await world.post("/api/gcp/token", {"credentials_info": CANARY})

    assert refused(answer) == (404, "The GCP token API is not enabled")


async def test_wallet_routes_want_the_token_where_one_is_set(nats_url: str) -> None:
    async with make_world(nats_url, internal_api_token=SecretStr("right\n")) as world:
        world.backend.answer("wallet.status", {"credential": {}, "keychain": {}})
        shut = [
            await world.get("/api/internal/wallet/key-status"),
            await world.get("/api/internal/secret-audit?limit=x"),
            await world.client.post("/api/internal/wallet/rotate-kek"),
            await world.client.post("/api/internal/cross-region/resolve"),
        ]
        opened = await world.get("/api/internal/wallet/key-status", authorization="Bearer right")

        assert {answer.status_code for answer in shut} == {403}
        assert opened.json() == {"credential": {}, "keychain": {}}


async def test_reads_of_credentials_document_that_one_may_not_be_used_there(world: World) -> None:
    paths = (await world.get("/schema/openapi.json")).json()["paths"]

    for path in ("/api/credentials/{identifier}", "/api/credentials/{identifier}/sealed"):
        assert "403" in paths[path]["get"]["responses"]
