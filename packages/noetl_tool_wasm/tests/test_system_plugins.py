"""The plug-ins of the system's playbooks, against a control plane that answers as a test says."""

import base64
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import yaml
from noetl_contract.json import Json, JsonObject
from noetl_contract.plugins.document import PluginBody, read_plugin
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.tools.tool import ToolResult
from tool_server import Said, ToolServer, tool_server
from wasm_modules import EXAMPLES, World, clang, compile_module, world

FOLDER = EXAMPLES / "system"
NAMES = ("outbox_publisher", "projector", "scheduled_cleanup")
TOKEN = "token-of-the-pool"


class Control:
    """The control plane, and the worker that runs a plug-in."""

    def __init__(self, here: World, edge: ToolServer, modules: Path) -> None:
        self._here = here
        self._modules = modules
        self.edge = edge

    async def run(self, name: str, **given: Json) -> ToolResult:
        """Run a plug-in as its playbook does."""
        given.setdefault("server_url", self.edge.url)
        auth = {"type": "bearer", "credential": "NOETL_INTERNAL_API_TOKEN"}
        host = self.edge.url.removeprefix("http://")
        return await self._here.run(
            plugin_of(name, self._modules),
            {"input": given},
            auth=auth,
            secrets={"NOETL_INTERNAL_API_TOKEN": TOKEN},
            secret_hosts={"NOETL_INTERNAL_API_TOKEN": (host,)},
        )

    @property
    def posted(self) -> list[tuple[str, JsonObject]]:
        """Return the requests posted, each with the token, as JSON."""
        for one in self.edge.asked:
            assert one.method == "POST"
            assert one.headers["authorization"] == f"Bearer {TOKEN}"
            assert one.headers["content-type"] == "application/json"
        return [(one.path.removeprefix("/api/internal/"), one.json) for one in self.edge.asked]


def plugin_of(name: str, modules: Path) -> PluginBody:
    document = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert document["metadata"]["path"] == f"system/plugins/{name}"
    data = (modules / document["spec"]["module"].pop("file")).read_bytes()
    document["spec"]["module"]["gzip"] = base64.b64encode(gzip.compress(data)).decode()
    version = NAMES.index(name) + 1
    return read_plugin(document).model_copy(update={"path": "p/x", "version": version})


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of modules that are compiled now."""
    compiler = clang()
    if compiler is None:
        pytest.skip("no clang with wasm-ld")
    folder = tmp_path_factory.mktemp("modules")
    for name in NAMES:
        compile_module(compiler, FOLDER / f"{name}.c", folder / f"{name}.wasm")
    return folder


@pytest.fixture(params=["as they come", "compiled"])
async def control(
    request: pytest.FixtureRequest, interpreters: InterpreterPool
) -> AsyncIterator[Control]:
    is_ours = request.param == "as they come"
    modules = FOLDER if is_ours else request.getfixturevalue("compiled")
    with tool_server(lambda _: Said({})) as edge:
        async with world(interpreters, server_url=edge.url) as here:
            yield Control(here, edge, modules)


@pytest.mark.parametrize("name", NAMES)
def test_the_modules_are_those_of_their_sources(name: str, compiled: Path) -> None:
    kept, made = ((folder / f"{name}.wasm").read_bytes() for folder in (FOLDER, compiled))
    # The section says which compiler it was; another one makes other code of the same source.
    if kept.partition(b"producers")[2] != made.partition(b"producers")[2]:
        pytest.skip("the modules were made by another compiler")

    assert kept == made


async def test_the_clean_up_asks_with_its_three_numbers(control: Control) -> None:
    said = {"commands_purged": 3, "runtime_purged": 0, "events_purged": 0}
    control.edge.answer = lambda _: Said(said)
    windows = {
        "command_retention_days": 7, "runtime_stale_minutes": "60", "event_retention_days": 0,
    }  # fmt: skip

    all_three = await control.run("scheduled_cleanup", **windows)
    none = await control.run("scheduled_cleanup", server_url=f"{control.edge.url}//")

    assert (all_three.data, none.data) == (said, said)
    assert control.posted == [("cleanup/purge", windows), ("cleanup/purge", {})]


async def test_the_projector_turns_pages_until_one_is_not_full(control: Control) -> None:
    pages = iter([*[{"checked": 5, "advanced": 4}] * 22, {"checked": 2, "advanced": 1}])
    control.edge.answer = lambda _: Said(next(pages))

    first = await control.run("projector", limit=5)
    second = await control.run("projector", limit="5")

    assert first.data == {"checked": 100, "advanced": 80, "more": True}
    assert second.data == {"checked": 12, "advanced": 9, "more": False}
    assert control.posted == [("projection/advance", {"limit": 5})] * 23


async def test_the_publisher_gives_what_it_has_borrowed(control: Control) -> None:
    everything = "".join(map(chr, [*range(0x80), 0xE4, 0x20AC, 0x1F600]))
    rows = [
        {"outbox_id": n, "subject": "s", "payload": {"a": [everything, None, -1.5e3, {}]}}
        for n in range(2000)
    ]
    control.edge.answer = lambda _: Said({"claimed": len(rows), "rows": rows})

    claimed = await control.run("outbox_publisher", do="claim", limit=2000)
    of_ascii = orjson.dumps({"claimed": 1, "rows": []}).replace(b'"rows"', b'"r\\u006fws"')
    control.edge.answer = lambda _: Said(of_ascii)
    escaped = await control.run("outbox_publisher", do="claim")

    assert claimed.data == {"claimed": len(rows), "rows": rows}
    assert escaped.data == {"claimed": 1, "rows": []}
    assert control.posted == [("outbox/claim", {"limit": 2000}), ("outbox/claim", {"limit": 100})]


async def test_the_publisher_says_what_became_of_them(control: Control) -> None:
    failed: list[Json] = [
        {"id": 4, "error": 'no "stream"\\\n'}, {"error": "ä", "id": 5}, {"id": 6},
    ]  # fmt: skip

    both = await control.run("outbox_publisher", do="mark", published=[1, 2, 3], failed=failed)
    nothing = await control.run("outbox_publisher", do="mark", published=[], failed=[])
    many = await control.run(
        "outbox_publisher", do="mark", failed=[{"id": n, "error": "x"} for n in range(950)]
    )

    assert both.data == {"published": 3, "put_back": 3}
    assert nothing.data == {"published": 0, "put_back": 0}
    assert many.data == {"published": 0, "put_back": 900}
    assert control.posted[:4] == [
        ("outbox/mark-published", {"outbox_ids": [1, 2, 3]}),
        ("outbox/mark-failed", {"outbox_id": 4, "error": 'no "stream"\\\n'}),
        ("outbox/mark-failed", {"outbox_id": 5, "error": "ä"}),
        ("outbox/mark-failed", {"outbox_id": 6, "error": "not published"}),
    ]
    assert len(control.posted) == 904


@pytest.mark.parametrize("name", NAMES)
async def test_what_the_control_plane_refuses_is_told(control: Control, name: str) -> None:
    given = {"do": "claim"} if name == "outbox_publisher" else {}
    told = []
    for status, kind, is_retryable in [
        (403, "auth", False), (422, "client_error", False), (429, "rate_limit", True),
        (503, "server_error", True),
    ]:  # fmt: skip
        control.edge.answer = lambda _, status=status: Said(b'no: "x"\n', status=status)
        result = await control.run(name, **given)
        assert result.status == "error"
        assert result.failure is not None
        assert (result.failure.kind, result.failure.retryable) == (kind, is_retryable)
        told.append(result.error or "")
    nowhere = await control.run(name, server_url="", **given)

    path = control.edge.asked[0].path
    assert told[0] == f'{path}: HTTP 403 no: "x"\n'
    assert nowhere.error == f"{name} needs 'server_url'"


async def test_a_wrong_word_is_told(control: Control) -> None:
    result = await control.run("outbox_publisher", do="steal")

    assert result.error == "'do' of outbox_publisher is neither claim nor mark"
    assert control.posted == []
