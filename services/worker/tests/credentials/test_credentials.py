"""Credentials by alias: found, mapped, applied, and never put out."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from noetl_common.crypto.sealed import SealingKey, Unsealable
from noetl_template import literal, render_worker
from noetl_worker import jsonb
from noetl_worker.commands import Command
from noetl_worker.control_plane.edge import Edge, open_edge
from noetl_worker.control_plane.registration import Identity
from noetl_worker.control_plane.result_stores import INLINE_LIMIT_BYTES, NotStored, StoredResult
from noetl_worker.credentials.cache import CredentialCache
from noetl_worker.credentials.credential import Credential, CredentialError
from noetl_worker.credentials.known_secrets import KnownSecrets
from noetl_worker.credentials.type_mappings import apply_type
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.output.channels import EdgeOutput
from noetl_worker.output.outputs import Outputs
from noetl_worker.redaction import REDACTED
from noetl_worker.run.policy import PolicyLimits
from noetl_worker.run.reports import Outcome
from noetl_worker.run.runner import Runner
from noetl_worker.settings import Settings
from noetl_worker.tools.registry import ToolRegistry, load_tools
from noetl_worker.tools.tool import ToolContext, ToolError, ToolParts, ToolResult
from worker_edge import ScriptedEdge, make_credentials, scripted_edge

SECRET = "canary-5f1e/7+b&c"
SEALED_KEY = bytes([0x44]) * 32
SEALED = {
    "alg": "x25519-hkdf-sha256-chacha20-poly1305",
    "v": 1,
    "eph_pub": "OKtmS9hvd9fma92a4HkpE6lP2LM6EmACfktGwfSITGc=",
    "ciphertext": "aHOXH6wT5qTWDJhGUeUjOX11o/0y8Pup9LE=",
}


def credential(type_: str, **data: Any) -> dict[str, Any]:
    return {"id": "1", "name": "x", "type": type_, "data": data, "tags": []}


STORED = {
    "pg": credential("postgres", db_host="db.local", db_port="5433", db_user="demo",
                     db_password=SECRET, db_name="demo_noetl"),
    "token": credential("bearer", token=SECRET),
    "key": credential("api_key", key=SECRET, header="X-K"),
    "login": credential("basic", user="ann", password=SECRET),
    "odd": credential("gcs", key=SECRET),
    "hosted": credential("bearer", token=SECRET) | {"allowed_hosts": ["a.example"]},
    "whole": {**credential("keychain"), "data": SECRET},
    "templated": credential("postgres", password="{{ 7 * 6 }}%}"),
}  # fmt: skip


class Taking:
    """Stands in for a tool of any kind: keeps the arguments of its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, Any], ToolContext]] = []
        self.result: Any = None
        self.error: Exception | None = None

    async def run(self, config: dict[str, Any], context: ToolContext) -> ToolResult:
        self.calls.append((context.render(config), context))
        if self.error is not None:
            raise self.error
        return ToolResult(data=self.result)


class NoStore:
    inline_limit = INLINE_LIMIT_BYTES

    async def put(self, _command: Command, _document: bytes) -> StoredResult:
        raise NotStored("there is none")


class Bench:
    """A runner over a scripted edge, with one tool under several kinds."""

    def __init__(self, edge: ScriptedEdge, runner: Runner, tool: Taking) -> None:
        self.edge = edge
        self.tool = tool
        self.runner = runner

    async def run(
        self, kind: str, config: Any, *, execution_id: int = 7, **context: Any
    ) -> Outcome:
        command = Command(
            execution_id=execution_id,
            event_id=1,
            command_id="7:start:1",
            step="start",
            server_url=self.edge.url.replace("//", "//7.1:1.secret@"),
            action=kind,
            context={"tool_config": config, "args": {}, "render_context": {"n": 3}, **context},
        )
        return await self.runner.run(command, NoStore())

    @property
    def asked(self) -> list[str]:
        return [path for _, path, _ in self.edge.calls]


@pytest.fixture(scope="module")
def shared_edge() -> Iterator[ScriptedEdge]:
    with scripted_edge() as made:
        yield made


@pytest.fixture
def edge(shared_edge: ScriptedEdge) -> ScriptedEdge:
    shared_edge.calls.clear()
    shared_edge.credential = lambda alias, _count: (
        (200, STORED[alias]) if alias in STORED else (404, {"error": "not there", "status": 404})
    )
    return shared_edge


@pytest.fixture
async def calls(edge: ScriptedEdge) -> AsyncIterator[Edge]:
    async with open_edge(Settings(server_url=edge.url)) as calls:
        yield calls


@pytest.fixture
async def bench(edge: ScriptedEdge, calls: Edge, interpreters: InterpreterPool) -> Bench:
    parts = ToolParts(
        settings=Settings(), http=httpx.AsyncClient(), interpreters=interpreters, edge=calls
    )
    tool = Taking()
    kinds = dict.fromkeys(("postgres", "http", "transfer", "duckdb"), tool)
    toolbox = ToolRegistry({**load_tools(parts)._tools, **kinds})
    runner = Runner(
        toolbox=toolbox,
        worker_id="w-1",
        secrets={"ENV": "from-the-environment"},
        credentials=make_credentials(calls),
        outputs=Outputs(EdgeOutput(calls)),
        limits=PolicyLimits(),
    )
    return Bench(edge, runner, tool)


@pytest.mark.parametrize("key", ["auth", "credential"])
async def test_a_single_tool_gets_the_fields_of_its_alias(bench: Bench, key: str) -> None:
    outcome = await bench.run("postgres", {key: "pg", "query": "q {{ n }}", "host": "mine"})

    config, context = bench.tool.calls[0]
    assert config == {
        "kind": "postgres", "query": "q 3", "host": "mine", "port": 5433, "user": "demo",
        "password": SECRET, "database": "demo_noetl",
    }  # fmt: skip
    assert bench.asked == ["/api/credentials/pg?include_data=true&execution_id=7"]
    assert SECRET not in str(context.variables)
    assert outcome.error is None


async def test_the_aliases_of_a_pipeline_are_resolved_once_and_in_order(bench: Bench) -> None:
    await bench.run(
        "task_sequence",
        [
            {"a": {"kind": "postgres", "auth": "pg", "query": "1"}},
            {"b": {"kind": "http", "credential": "token", "url": "u"}},
            {"c": {"kind": "transfer", "source": {"type": "postgres", "auth": "pg"},
                   "target": {"type": "http", "auth": "key"}}},
        ],
    )  # fmt: skip

    (first, _), (second, context), (third, last) = bench.tool.calls
    assert (first["password"], first["host"]) == (SECRET, "db.local")
    assert second == {"url": "u"}
    assert dict(context.auth or {}) == {"type": "bearer", "credential": "token"}
    assert dict(context.secrets) == {"ENV": "from-the-environment", "token": SECRET}
    assert third["source"]["password"] == SECRET
    assert third["target"]["auth"] == {"type": "api_key", "credential": "key", "header": "X-K"}
    assert last.secrets["key"] == SECRET
    assert [path.split("/")[-1].partition("?")[0] for path in bench.asked] == ["pg", "token", "key"]


async def test_templates_of_a_single_tool_see_the_keychain_and_nothing_else_does(
    bench: Bench,
) -> None:
    outcome = await bench.run(
        "http",
        {
            "url": "u/{{ keychain.whole }}",
            "headers": {
                "A": "Bearer {{ keychain.token.token }}",
                "B": "{{ keychain.key.key | default('') }}{{ keychain.token.no | default('-') }}",
            },
            "auth": {"type": "bearer", "token": "{{ keychain.token.token }}"},
            "n": "{{ n }}",
        },
        keychain=["token", "whole", "gone"],
        policy={"rules": [{"then": {"do": "continue", "set": {
            "seen": "{{ keychain.token | default('no') }}"}}}]},
    )  # fmt: skip

    config, context = bench.tool.calls[0]
    assert config == {
        "kind": "http", "url": f"u/{SECRET}", "n": 3,
        "headers": {"A": f"Bearer {SECRET}", "B": "-"},
    }  # fmt: skip
    assert dict(context.auth or {}) == {"type": "bearer", "token": SECRET}
    assert SECRET not in str(context.variables)
    assert SECRET not in repr(context)
    assert SECRET not in str(outcome.result)
    assert sorted(path.split("/")[-1].partition("?")[0] for path in bench.asked) == [
        "token",
        "whole",
    ]


async def test_templates_of_a_task_see_the_keychain_but_neither_set_nor_rules(
    bench: Bench,
) -> None:
    bench.tool.result = {"ok": True}
    outcome = await bench.run(
        "task_sequence",
        [
            {
                "a": {
                    "kind": "http",
                    "url": "u/{{ keychain.token.token }}",
                    "input": {"word": "{{ keychain.token.token }}"},
                    "set": {
                        "direct": "{{ keychain.token.token | default }}",
                        "given": "{{ word }}",
                    },
                }
            },
            {"b": {"kind": "http", "url": "{{ keychain.gone.x }}{{ direct }}", "k": "{{ given }}"}},
        ],
        keychain=["token", "gone"],
    )

    (first, _), (second, _) = bench.tool.calls
    assert (first["url"], first["input"]) == (f"u/{SECRET}", {"word": SECRET})
    assert "u" not in str(second["url"])
    assert SECRET not in str(outcome.result)


MISSING = "keychain entry 'gone' has no value: it names neither 'provider' nor 'credential'"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ keychain.typo.x }}", "the playbook's keychain has no entry 'typo'"),
        ("{{ keychain.token.tokn }}", "the entry 'token' of the keychain has no field 'tokn'"),
        ("{{ keychain.token[n] }}", "the entry 'token' of the keychain has no field '3'"),
        ("{{ keychain[n] }}", "the keychain has no entry '3'"),
        ("x{{ keychain.token.a.b }}", "the entry 'token' of the keychain has no field 'a'"),
        ("{{ keychain.whole.x }}", "keychain entry 'whole' is one text and has no field 'x'"),
        ("{{ keychain.gone }}", MISSING),
    ],
)
async def test_a_secret_that_is_not_there_fails_the_command_by_its_name(
    bench: Bench, template: str, text: str
) -> None:
    names = [name for name in ("token", "whole", "gone") if name in template or "[" in template]
    names = [name for name in names if name != "gone" or name in template] or ["token"]
    for kind, config in (
        ("http", {"url": template}),
        ("task_sequence", [{"a": {"kind": "http", "url": template}}]),
    ):
        outcome = await bench.run(kind, config, keychain=names, keychain_needed=["gone"])
        assert text in (outcome.error or ""), kind
    assert all(SECRET not in str(call) for call in bench.tool.calls)


@pytest.mark.parametrize(
    "spec",
    [
        {"set": {"x": "{{ keychain.token.token }}"}},
        {"spec": {"policy": {"rules": [{"when": "{{ keychain.token.token == 'a' }}",
                                        "then": {"do": "break"}}]}}},
    ],
)  # fmt: skip
async def test_no_rule_and_no_variable_is_given_a_secret(bench: Bench, spec: Any) -> None:
    outcome = await bench.run(
        "task_sequence", [{"a": {"kind": "http", "url": "u", **spec}}], keychain=["token"]
    )

    assert "'keychain.token.token' has no value here: the keychain" in (outcome.error or "")


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("playbook", "token", "keychain entry 'token' may not be given to a tool of kind"),
        ("artifact", "token", "keychain entry 'token' may not be given to a tool of kind"),
        ("http", "hosted", "credential 'hosted' may be sent to its hosts only"),
    ],
)
async def test_where_the_keychain_may_not_be_used(
    bench: Bench, kind: str, name: str, text: str
) -> None:
    template = "{{ keychain.%s.token }}" % name  # noqa: UP031
    outcome = await bench.run(kind, {"path": "p", "input": {"x": template}}, keychain=[name])

    assert (outcome.error or "").startswith(text)
    assert bench.tool.calls == []


@pytest.mark.parametrize(
    ("own", "host"),
    [
        ({"host": "evil.example"}, "evil.example"),
        ({"account": "e_1"}, "e-1.snowflakecomputing.com"),
    ],
)
async def test_a_credential_with_hosts_goes_to_no_place_that_the_playbook_names(
    bench: Bench, own: dict[str, Any], host: str
) -> None:
    outcome = await bench.run("http", {"auth": "hosted", **own}, keychain=[])

    assert outcome.error == f"credential 'hosted' may not be sent to '{host}'"
    assert bench.tool.calls == []


async def test_data_that_looks_like_a_template_gets_nothing_of_the_keychain(bench: Bench) -> None:
    forged = literal("{{ keychain.token.token }}")
    await bench.run("http", {"url": forged}, keychain=["token"])

    assert bench.tool.calls[0][0]["url"] == "{{ keychain.token.token }}"
    assert bench.asked == []


async def test_a_missing_alias_of_a_pipeline_fails_it_before_anything_runs(bench: Bench) -> None:
    outcome = await bench.run(
        "task_sequence",
        [
            {"a": {"kind": "postgres", "auth": "pg", "query": "1"}},
            {"b": {"kind": "postgres", "auth": "un known", "query": "1"}},
        ],
    )

    assert outcome.error == (
        "Credential alias 'un known' not found in keychain "
        "(server returned 404 for /api/credentials/un known)"
    )
    assert bench.tool.calls == []


async def test_each_database_that_duckdb_attaches_has_a_credential_of_its_own(
    bench: Bench,
) -> None:
    attached = [{"type": "postgres", "name": "a", "auth": "pg"}, {"name": "b", "path": "x"}, 5]

    await bench.run("task_sequence", [{"d": {"kind": "duckdb", "attach": attached}}])

    first, *others = bench.tool.calls[0][0]["attach"]
    assert (first["name"], first["host"], first["password"]) == ("a", "db.local", SECRET)
    assert "auth" not in first
    assert others == attached[1:]


async def test_endpoints_of_a_single_transfer(bench: Bench) -> None:
    await bench.run("transfer", {"source": {"auth": "pg", "query": "1"}, "target": {"auth": None}})

    assert bench.tool.calls[0][0]["source"]["user"] == "demo"
    assert bench.tool.calls[0][0]["target"] == {"auth": None}


@pytest.mark.parametrize(
    ("config", "auth", "secrets"),
    [
        ({"auth": "token"}, {"type": "bearer", "credential": "token"}, {"token": SECRET}),
        ({"auth": "login"}, {"type": "basic", "credential": "login", "username": "ann"},
         {"login": SECRET}),
        ({"auth": "key"}, {"type": "api_key", "credential": "key", "header": "X-K"},
         {"key": SECRET}),
        # An object is left alone; what it names is fetched unless it is there already.
        ({"auth": {"type": "bearer", "credential": "token"}},
         {"type": "bearer", "credential": "token"}, {"token": SECRET}),
        ({"auth": {"type": "bearer", "credential": "ENV"}, "credential": "pg"},
         {"type": "bearer", "credential": "ENV"}, {}),
        ({"auth": {"type": "bearer", "credential": "nowhere"}},
         {"type": "bearer", "credential": "nowhere"}, {}),
        ({"auth": None}, None, {}),
    ],
)  # fmt: skip
async def test_logins_of_http(
    bench: Bench, config: dict[str, Any], auth: Any, secrets: dict[str, str]
) -> None:
    outcome = await bench.run("http", {"url": "u", **config})

    assert outcome.error is None
    context = bench.tool.calls[0][1]
    assert (None if context.auth is None else dict(context.auth)) == auth
    assert dict(context.secrets) == {"ENV": "from-the-environment", **secrets}


@pytest.mark.parametrize(
    "auth", [5, True, [], {"kind": "bearer"}, {"type": "oauth"}, {"type": ["bearer"]}]
)
async def test_what_is_no_login_is_malformed(bench: Bench, auth: Any) -> None:
    outcome = await bench.run("http", {"url": "u", "auth": auth})

    assert str(outcome.error).startswith(
        "malformed tool config (pre-dispatch deserialization): auth: "
    )


async def test_a_password_is_no_template(bench: Bench) -> None:
    await bench.run("postgres", {"auth": "templated"})

    assert bench.tool.calls[0][0]["password"] == "{{ 7 * 6 }}%}"


@pytest.mark.parametrize("text", ["{{ 1 }}", 'a{%"\\ b', '{"x":{{}}}', "{{ž😀\n\t", "12{{", "{{#}"])
def test_literals_render_to_themselves(text: str) -> None:
    assert render_worker({"a": [literal(text)]}, {}) == {"a": [text]}


@pytest.mark.parametrize(
    ("status", "body", "error", "asked"),
    [
        (503, {}, "transient error looking up credential alias 'a' in keychain", 3),
        (500, {"error": "no"}, "credential fetch for 'a' failed: HTTP 500 {\"error\":\"no\"}", 1),
        (200, b"{nonsense", "credential 'a' can't be decoded: not JSON", 1),
        (200, credential("postgres") | {"tags": None},
         "credential 'a' can't be decoded: `tags` is not a list of strings", 1),
        (200, credential("postgres") | {"data": None},
         "credential 'a' can't be decoded: `data` is not an object", 1),
        (200, credential("postgres", db_port="55x"),
         "postgres credential 'db_port' is not a u16: invalid digit found in string", 1),
        (200, credential("gcs"),
         ("Credential alias 'a' has unsupported type 'gcs'.  Supported types: postgres, snowflake, "
          "bearer, api_key, basic, nats, pubsub, kafka.  File an issue if your tool needs another "
          "type."), 1),
    ],
)  # fmt: skip
async def test_failed_look_ups_fail_the_command(
    bench: Bench, status: int, body: Any, error: str, asked: int
) -> None:
    bench.edge.credential = lambda _alias, _count: (status, body)

    outcome = await bench.run("postgres", {"auth": "a"})

    assert outcome.error == error
    assert len(bench.asked) == asked
    assert bench.tool.calls == []


async def test_a_look_up_that_fails_for_a_moment_succeeds(bench: Bench) -> None:
    bench.edge.credential = lambda _alias, count: (200, STORED["pg"]) if count else (502, {})

    outcome = await bench.run("postgres", {"auth": "pg"})

    assert outcome.error is None
    assert len(bench.asked) == 2


async def test_without_look_ups_an_alias_is_refused(bench: Bench) -> None:
    context = ToolContext(
        variables={}, execution_id=1, step="s", server_url="", toolbox=bench.runner._toolbox
    )

    with pytest.raises(ToolError, match="credential alias 'pg': nobody here"):
        await bench.runner._toolbox.run("postgres", {"auth": "pg"}, context)


@pytest.mark.parametrize(
    ("type_", "data", "fields"),
    [
        ("Postgres", {"db_host": "a", "host": "b", "port": 1, "database": "d"},
         {"host": "a", "port": 1, "database": "d"}),
        ("snowflake", {"sf_account": "a", "user": "u", "public_key": "no", "sf_public_key": "yes"},
         {"account": "a", "user": "u", "public_key": "yes"}),
        ("snowflake", {"account": "a", "sf_host": "h", "port": 1, "protocol": "http"},
         {"account": "a", "host": "h", "port": 1, "protocol": "http"}),
        ("nats", {"nats_url": "u", "nats_username": "n", "stream": "S"},
         {"url": "u", "user": "n", "nats_url": "u", "nats_username": "n", "stream": "S"}),
        ("kafka", {"brokers": ["x"], "url": None}, {"brokers": ["x"]}),
    ],
)  # fmt: skip
def test_fields_by_type(type_: str, data: dict[str, Any], fields: dict[str, Any]) -> None:
    assert apply_type(Credential("a", type_, data)).fields == fields


def test_which_texts_of_a_credential_are_hidden() -> None:
    applied = apply_type(
        Credential("a", "nats", {"nats_url": "nats://u:p%40ss@h:1", "user": "ann", "token": "t"})
    )

    assert set(applied.hidden) == {"p%40ss", "p@ss", "t"}
    assert "p%40ss" not in repr(applied)


def spellings() -> list[str]:
    return [
        SECRET,
        f"key={SECRET};",
        base64.b64encode(SECRET.encode()).decode(),
        "canary-5f1e%2F7%2Bb%26c",
    ]


@pytest.mark.parametrize("text", spellings())
async def test_a_result_never_holds_a_resolved_secret(bench: Bench, text: str) -> None:
    bench.tool.result = {"rows": [["fine", text]], text: 1}

    outcome = await bench.run("postgres", {"auth": "pg"})

    reported = jsonb.encode(outcome.result).decode()
    assert SECRET not in reported
    assert text not in reported
    assert reported.count(REDACTED) == 2
    assert '"fine"' in reported


async def test_nor_does_a_later_result_of_the_execution(bench: Bench) -> None:
    await bench.run("postgres", {"auth": "pg"})

    outcome = await bench.run("noop", {"result": {"echo": f"it is {SECRET}"}})

    assert SECRET not in str(outcome.result)
    assert f"it is {REDACTED}" in jsonb.encode(outcome.result).decode()


@pytest.mark.parametrize("error", [ToolError("Database error", SECRET), ValueError(SECRET)])
async def test_nor_an_error_or_a_log_line(
    bench: Bench, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    bench.tool.error = error

    outcome = await bench.run("postgres", {"auth": "pg"})

    assert outcome.error is not None
    assert REDACTED in outcome.error
    assert SECRET not in outcome.error
    assert SECRET not in capsys.readouterr().out


async def test_secrets_of_the_environment_are_hidden_too(bench: Bench) -> None:
    outcome = await bench.run("noop", {"result": "x from-the-environment y"})

    assert "from-the-environment" not in jsonb.encode(outcome.result).decode()


def test_secrets_are_remembered_within_bounds() -> None:
    known = KnownSecrets(most=2, most_each=3)
    known.learn(1, ["a-long-secret", "short"])
    known.learn(2, ["b-long-secret"])
    known.of(1)
    known.learn(3, ["c-long-secret"])

    assert known.of(2) == ()
    assert "a-long-secret" in known.of(1)
    assert "short" not in known.of(1)
    known.learn(1, [f"another-{number}" for number in range(9)])
    assert len(known.of(1)) == 3


async def test_one_look_up_for_all_who_wait_and_again_when_it_is_old() -> None:
    now, asked = [0.0], []
    cache = CredentialCache(seconds=10, most=2, clock=lambda: now[0])

    async def fetch() -> Credential:
        asked.append(now[0])
        await asyncio.sleep(0)
        return Credential("a", "bearer", {})

    await asyncio.gather(*(cache.get((1, "a"), fetch) for _ in range(20)))
    now[0] = 9.9
    await cache.get((1, "a"), fetch)
    assert asked == [0.0]
    now[0] = 10.0
    await cache.get((1, "a"), fetch)
    assert asked == [0.0, 10.0]
    for execution_id in (2, 3, 1):
        await cache.get((execution_id, "a"), fetch)
    assert len(asked) == 5


async def test_a_failed_look_up_is_not_kept() -> None:
    cache = CredentialCache(seconds=10, most=2)

    async def fail() -> Credential:
        raise CredentialError("no")

    async def fetch() -> Credential:
        return Credential("a", "bearer", {})

    with pytest.raises(CredentialError):
        await cache.get((1, "a"), fail)
    assert (await cache.get((1, "a"), fetch)).type == "bearer"


def test_a_sealed_envelope_opens() -> None:
    key = SealingKey(SEALED_KEY)

    assert key.public == "/y7kVgHsG2cxDHeQQEWFrmlzMe7hwfjPJBlzHB//Pms="
    assert key.open(SEALED) == b'{"id":"1"}'


@pytest.mark.parametrize(
    "envelope",
    [
        None, SEALED | {"v": 2}, SEALED | {"eph_pub": 1}, SEALED | {"eph_pub": "AA=="},
        SEALED | {"ciphertext": "!"}, SEALED | {"ciphertext": SEALED["eph_pub"]},
    ],
)  # fmt: skip
def test_a_wrong_envelope_does_not(envelope: Any) -> None:
    with pytest.raises(Unsealable):
        SealingKey(SEALED_KEY).open(envelope)


async def test_sealed_look_ups_ask_for_this_worker(edge: ScriptedEdge, calls: Edge) -> None:
    edge.credential = lambda _alias, _count: (200, SEALED)
    source = make_credentials(calls, sealing=SealingKey(SEALED_KEY))

    # The envelope of the contract holds an `id` alone.
    with pytest.raises(CredentialError, match="`name` is not a string"):
        await source.find("a/b", execution_id=7, server_url="")

    assert edge.calls[0][1] == "/api/credentials/a%2Fb/sealed?worker_id=w-1&execution_id=7"


async def test_an_envelope_for_another_worker_fails_by_name(
    edge: ScriptedEdge, calls: Edge
) -> None:
    edge.credential = lambda _alias, _count: (200, SEALED)
    source = make_credentials(calls, sealing=SealingKey())

    with pytest.raises(CredentialError, match=r"credential 'a' .* sealed for another key"):
        await source.find("a", execution_id=7, server_url="")


def test_the_key_is_registered() -> None:
    identity = Identity.of_this_process(Settings(), public_key=SealingKey(SEALED_KEY).public)

    assert identity.registration()["runtime"]["worker_public_key"].startswith("/y7k")
