"""The small parts: decoding, settings, scrubbing, memory of commands, bounds."""

import asyncio
import json
from typing import Any

import orjson
import pytest
from noetl_worker import encoding
from noetl_worker.commands import command_of, decode_claim, decode_notification
from noetl_worker.output_select import select_output
from noetl_worker.reports import cut_error
from noetl_worker.results import INLINE_LIMIT_BYTES, reported_result
from noetl_worker.runner import _lift
from noetl_worker.scrub import REDACTED, is_heavy, scrub
from noetl_worker.settings import Settings
from noetl_worker.tools.tool import ToolResult
from noetl_worker.transports.known import KnownCommands
from noetl_worker.transports.unconfirmed import Unconfirmed
from worker_control_plane import granted, make_command, make_notification


def test_the_notification_of_the_reference_decodes() -> None:
    note = decode_notification(
        b'{"execution_id":482217234567890123,"event_id":482217234567890456,'
        b'"command_id":482217234567890,"step":"start","server_url":"http://s:8082","new":1}'
    )

    assert (note.execution_id, note.event_id) == (482217234567890123, 482217234567890456)
    assert note.command_id == "482217234567890"
    assert note.fast is None


def test_the_command_inside_a_notification() -> None:
    body = make_notification(5, command=make_command("python", config={"code": ""}), attempts=0)
    body["fast"]["until"] = "2026-06-14T10:15:59Z"

    note = decode_notification(orjson.dumps(body))
    command = command_of(note)

    assert note.fast is not None
    assert note.fast.until == 1781432159.0
    assert command is not None
    assert (
        command.action,
        command.context["tool_config"],
        command.attempts,
    ) == ("python", {"code": ""}, 0)


@pytest.mark.parametrize("until", ["nonsense", None, 5])
def test_an_illegible_until_means_claim(until: Any) -> None:
    body = make_notification(5, command=make_command())
    body["fast"]["until"] = until

    note = decode_notification(orjson.dumps(body))

    assert note.fast is not None
    assert note.fast.until == 0.0


def test_a_claim_without_a_command_id_gets_one() -> None:
    note = decode_notification(orjson.dumps(make_notification(5)))
    body = granted(make_notification(5), make_command()) | {"meta": {"attempts": 2}, "fast": None}

    command = decode_claim(body, note)

    assert (command.command_id, command.attempts) == ("7:start:unknown", 2)


@pytest.mark.parametrize(
    ("key", "hidden"),
    [
        ("password", True), ("Db-Password", True), ("author", True), ("token_count", True),
        ("passport_cert_no", True), ("client_secret", True), ("apiKey", True), ("jwt", True),
        ("name", False), ("passport", False), ("key", False), ("pass", False),
    ],
)  # fmt: skip
def test_secrets_are_known_by_their_key(key: str, hidden: bool) -> None:  # noqa: FBT001
    assert {key: REDACTED if hidden else 5} == scrub({key: 5})


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Bearer abc", True),
        ("basic dTpw", True),
        ("bearer", False),
        ("eyJhbGciOi.eyJzdWIi.c2ln", True),
        ("key is sk-abcdefghijkl", True),
        ("sk-short", False),
        ("task-abcdefghijklmn", False),
        ("x=ghp_abcdefghijkl", True),
        ("xoxb-123456789012", True),
        ("-----BEGIN RSA PRIVATE KEY-----\nx", True),
        ("an ordinary text about a bear", False),
    ],
)
def test_secrets_are_known_by_their_look(text: str, hidden: bool) -> None:  # noqa: FBT001
    assert [REDACTED if hidden else text] == scrub([text])


@pytest.mark.parametrize("before", [0, 1, 65_500, 65_530, 65_536, 131_060, 200_000])
def test_a_secret_is_known_anywhere_in_a_long_text(before: int) -> None:
    """Long texts are looked at in pieces; what lies across a border counts too."""
    filler = "task-abcdefghijklmnop xoxo "
    lead = (filler * (before // len(filler) + 1))[:before]
    tail = filler * 3000

    assert scrub(lead + tail) == lead + tail
    assert scrub(f"{lead} sk-abcdefghijkl {tail}") == REDACTED
    assert scrub(f"{lead}-----BEGIN EC PRIVATE KEY-----{tail}") == REDACTED


def test_known_secrets_alone_are_masked_in_a_text() -> None:
    given = {"a hunter22 b": ["x hunter22 y", 5], "long": "hunter22 " * 20_000}

    scrubbed = scrub(given, secrets=("hunter22",))

    assert scrubbed[f"a {REDACTED} b"] == [f"x {REDACTED} y", 5]
    assert scrubbed["long"] == f"{REDACTED} " * 20_000


@pytest.mark.parametrize(
    ("value", "heavy"),
    [
        ({"a": ["x" * 100] * 100}, False),
        ("x" * 200_000, True),
        ([1] * 3000, True),
        ([[1] * 100] * 100, True),
        ({"a": {"b": "x" * 200_000}}, True),
    ],
)
def test_what_is_scrubbed_beside_the_event_loop(value: Any, heavy: bool) -> None:  # noqa: FBT001
    assert is_heavy(value) is heavy


def test_scrubbing_goes_all_the_way_down_and_changes_nothing_given() -> None:
    given = {"a": [{"token": {"x": 1}, "b": "fine"}]}

    assert scrub(given) == {"a": [{"token": REDACTED, "b": "fine"}]}
    assert given == {"a": [{"token": {"x": 1}, "b": "fine"}]}


def test_selected_output() -> None:
    data = {
        "one": {"rows": [{"id": 1}, {"id": 2}], "big": "x" * 9000},
        "two": {"rows": "later", "none": None},
    }

    selected = select_output(
        data, ["one.rows[1].id", "rows", "none", "big", "two.missing", "one.rows[9]", 5]
    )

    assert selected == {"id": 2, "rows": "later"}
    assert select_output("text", ["a"]) == {}
    assert select_output(data, "one") == {}


class KeepingStore:
    inline_limit = INLINE_LIMIT_BYTES

    def __init__(self) -> None:
        self.documents: list[bytes] = []

    async def put(self, _command: Any, document: bytes) -> None:
        self.documents.append(document)


async def test_the_limit_of_inline_results_is_exact() -> None:
    note = decode_notification(orjson.dumps(make_notification(1, command=make_command())))
    command = command_of(note)
    assert command is not None
    store = KeepingStore()
    frame = len(b'{"status":"success","data":""}')

    inline = await reported_result(
        command, ToolResult(data="x" * (INLINE_LIMIT_BYTES - frame)), store
    )
    stored = await reported_result(
        command, ToolResult(data="x" * (INLINE_LIMIT_BYTES - frame + 1)), store
    )

    assert "context" in orjson.loads(orjson.dumps(inline))
    assert stored == {"status": "success"}
    assert [len(document) for document in store.documents] == [INLINE_LIMIT_BYTES + 1]


def test_json_that_no_other_encoder_takes() -> None:
    value = {"big": 1 << 70, "nul": "a\0b", "half": "\ud800", "nan": float("nan")}

    encoded = encoding.encode(value)

    assert b"\\u0000" not in encoded
    orjson.loads(encoded)  # it is JSON: NaN would not be
    assert json.loads(encoded) == {
        "big": 1 << 70,
        "nul": "a\ufffdb",
        "half": "\ufffd",
        "nan": None,
    }


def test_the_look_of_an_escaped_nul_stays_beside_a_large_integer() -> None:
    value = {"big": 1 << 70, "text": "\\u0000"}

    assert json.loads(encoding.encode(value)) == value


def test_errors_are_cut_between_characters() -> None:
    cut = cut_error("é" * 100_000)

    assert len(cut.encode()) <= (64 << 10) + 3
    assert set(cut) == {"é", "…"}
    assert cut_error("short") == "short"


def test_finished_commands_are_remembered_for_ten_minutes() -> None:
    now = [0.0]
    known = KnownCommands(clock=lambda: now[0])
    known.hold(1)
    known.finish(1)
    now[0] = 599.0
    known.finish(2)
    now[0] = 601.0
    known.finish(3)

    remembered_then = [one for one in (1, 2, 3) if one in known]
    now[0] = 1300.0
    known.finish(4)

    assert remembered_then == [1, 2, 3]
    assert [one for one in (1, 2, 3, 4) if one in known] == [3, 4]


def test_released_commands_are_forgotten() -> None:
    known = KnownCommands()
    known.hold(1)
    known.release(1)

    assert 1 not in known


async def test_unconfirmed_outcomes_are_bounded_in_number_and_bytes() -> None:
    unconfirmed = Unconfirmed(most=2, most_bytes=100)
    unconfirmed.add(10)
    await asyncio.wait_for(unconfirmed.room(), 1)
    unconfirmed.add(90)
    waiting = asyncio.create_task(unconfirmed.room())
    await asyncio.sleep(0)
    was_waiting = not waiting.done()
    unconfirmed.remove(90)
    await asyncio.wait_for(waiting, 1)

    assert was_waiting


SHARED = ("NOETL_COMMANDS", "noetl_worker_pool_shared", "noetl.commands.shared.>")


@pytest.mark.parametrize(
    ("env", "durable"),
    [
        ({}, SHARED),
        ({"WORKER_POOL_NAME": "default"}, SHARED),
        (
            {"WORKER_POOL_NAME": "gpu"},
            ("NOETL_COMMANDS", "noetl_worker_pool_gpu", "noetl.commands.gpu.>"),
        ),
        (
            {"NATS_STREAM": "S", "NATS_CONSUMER": "C", "NATS_FILTER_SUBJECT": "noetl.commands.x.>"},
            ("S", "C", "noetl.commands.x.>"),
        ),
    ],
)  # fmt: skip
def test_the_durable_is_that_of_the_pool(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], durable: tuple[str, str, str]
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    spec = Settings().durable()

    assert durable == (spec.stream, spec.name, spec.filter_subject)


def test_settings_of_the_reference_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://elsewhere:4222")
    monkeypatch.setenv("NATS_USER", "u")
    monkeypatch.setenv("NATS_PASSWORD", "p@ss")
    monkeypatch.setenv("WORKER_METRICS_BIND", "0.0.0.0:9191")
    monkeypatch.setenv("WORKER_MAX_CONCURRENT", "3")
    monkeypatch.setenv("NOETL_SNOWFLAKE_NODE_ID", "1025")

    settings = Settings()

    assert settings.nats_servers() == ["nats://elsewhere:4222"]
    assert settings.nats_login() == ("u", "p@ss")
    assert (settings.http_host, settings.http_port) == ("0.0.0.0", 9191)  # noqa: S104
    assert settings.worker_max_concurrent == 3


@pytest.mark.parametrize(
    ("tool_config", "args", "expected"),
    [
        ({"code": ""}, {"a": 1}, {"code": "", "args": {"a": 1}, "kind": "python"}),
        ({"code": ""}, {}, {"code": "", "kind": "python"}),
        ({"code": "", "args": {}}, {"a": 1}, {"code": "", "args": {}, "kind": "python"}),
        (None, {}, {"kind": "python"}),
        ([1], {}, {"kind": "python"}),
    ],
)
def test_step_level_arguments_are_inserted_only_where_they_help(
    tool_config: Any, args: dict[str, Any], expected: dict[str, Any]
) -> None:
    command = make_command("python", args=args)
    command["context"]["tool_config"] = tool_config
    note = decode_notification(orjson.dumps(make_notification(1, command=command)))
    decoded = command_of(note)
    assert decoded is not None

    assert expected == _lift(decoded).config


def test_containers_get_no_arguments() -> None:
    command = make_command("container", config={"image": "x"}, args={"a": 1})
    note = decode_notification(orjson.dumps(make_notification(1, command=command)))
    decoded = command_of(note)
    assert decoded is not None

    assert "args" not in _lift(decoded).config
