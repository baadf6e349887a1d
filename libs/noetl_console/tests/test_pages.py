"""Pages made of scripted answers of the API."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from noetl_console.api import Answer, Api, Refused, path_segments
from noetl_console.drawing.values import LONGEST_VALUE, MOST_TOGETHER, Values
from noetl_console.pages import login
from noetl_console.pages.actions import rerun
from noetl_console.pages.catalog.edit import edit, save
from noetl_console.pages.catalog.playbook import playbook
from noetl_console.pages.catalog.playbooks import playbooks
from noetl_console.pages.credentials import TYPES, store
from noetl_console.pages.failures import act_on_failures, failures
from noetl_console.pages.run import TABS, run
from noetl_console.pages.runs import PAGE_SIZE, act_on_runs, runs
from noetl_console.pages.step import calls_of, step
from noetl_console.pages.system import given_up, settings, system
from noetl_console.pages.waits import answer
from noetl_console.rendering import render
from noetl_console.requests import BadField, Page, PageRequest, Redirect
from noetl_contract.http.executions.reads import DetailEvent

EVIL = "<script>alert(1)</script>"


class Scripted:
    """Answers of the API by path; remembers the requests."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = answers
        self.asked: list[tuple[str, str, Any]] = []
        self.keys: dict[str, str | None] = {}

    async def __call__(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None,
        key: str | None = None,
    ) -> Answer:
        name = path.removeprefix("/noetl/")
        self.keys[name] = key
        self.asked.append((method, name, orjson.loads(body) if body else dict(query)))
        given = self.answers.get(name, (404, {"error": f"{name} not found"}))
        status, answer = given if isinstance(given, tuple) else (200, given)
        return Answer(status, orjson.dumps(answer))


def entry(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "execution_id": str(number),
        "catalog_id": "5",
        "path": "demo/a",
        "version": 2,
        "status": "COMPLETED",
        "started_at": "2026-06-15T12:00:00Z",
        "completed_at": None,
        "event_count": 7,
        "start_time": "2026-06-15T12:00:00Z",
        "end_time": None,
        "duration_seconds": 1.0,
        "duration_human": "1s",
        "progress": 100,
        "parent_execution_id": None,
        "error": None,
        "soft_errors": 0,
        **changes,
    }


PAGES = {
    "page": 1,
    "page_size": 100,
    "total_events": 7,
    "total_pages": 1,
    "has_next": False,
    "has_prev": False,
}


def detail(**changes: Any) -> dict[str, Any]:
    whole = {
        **entry(),
        "workload": {"n": 1},
        "events": [],
        "result": EVIL,
        "events_included": False,
        "events_endpoint": "",
        "pagination": PAGES,
    }
    return {**whole, **changes}


def steps(*names: str, state: str = "COMPLETED") -> dict[str, Any]:
    return {
        "execution_id": "1",
        "path": "demo/a",
        "status": "COMPLETED",
        "steps": [
            {
                "step": name,
                "state": state,
                "runs": 1,
                "first_started_at": "2026-06-15T12:00:00Z",
                "started_at": "2026-06-15T12:00:00Z",
                "ended_at": "2026-06-15T12:00:01Z",
                "duration_seconds": 1.0,
                "attempts": 1,
                "iterations": None,
                "error": None,
                "worker_id": "w",
            }
            for name in names
        ],
        "next": None,
    }


def html(page: Page | Redirect, request: PageRequest) -> str:
    assert isinstance(page, Page)
    return render(page, request)


async def test_filters_are_the_address_and_the_next_page_begins_after_the_last() -> None:
    scripted = Scripted(executions=[entry(number) for number in range(PAGE_SIZE)])
    request = PageRequest("/console", query={"status": "FAILED", "path": "a&b"})

    text = html(await runs(Api(scripted), request), request)

    assert scripted.asked[0] == (
        "GET",
        "executions",
        {"limit": str(PAGE_SIZE), "status": "FAILED", "path": "a&b"},
    )
    assert f"/console?after={PAGE_SIZE - 1}&amp;status=FAILED&amp;path=a%26b" in text
    assert "Cancel selected" in text


async def test_a_console_for_reading_has_no_buttons() -> None:
    request = PageRequest("/console", may_change=False)

    text = html(await runs(Api(Scripted(executions=[entry()])), request), request)

    assert "Cancel selected" not in text
    assert 'type="checkbox"' not in text


async def test_an_empty_list_teaches() -> None:
    request = PageRequest("/console")

    text = html(await runs(Api(Scripted(executions=[])), request), request)

    assert "noetl-server run examples/hello.yaml" in text


async def test_a_script_hears_only_of_changes() -> None:
    api = Api(Scripted(executions=[entry()]))
    first = await runs(api, PageRequest("/console"))
    assert isinstance(first, Page)
    seen = str(first.shown["seen"])

    same = await runs(api, PageRequest("/console", query={"seen": seen}, is_partial=True))
    other = PageRequest("/console", query={"seen": "old"}, is_partial=True)
    changed = await runs(api, other)

    assert isinstance(same, Page)
    assert same.is_same
    assert "<html" not in html(changed, other)


async def test_what_became_of_each_selected_run_is_told() -> None:
    scripted = Scripted(
        **{
            "executions/1/rerun": {
                "execution_id": "9",
                "status": "started",
                "commands_generated": 1,
            },
            "executions/2/rerun": (409, {"error": "too late"}),
        }
    )
    request = PageRequest("/console/runs", form={"id": ["1", "2", "1"], "action": ["rerun"]})

    text = html(await act_on_runs(Api(scripted), request), request)

    assert [name for _, name, _ in scripted.asked] == ["executions/1/rerun", "executions/2/rerun"]
    assert "/console/runs/9" in text
    assert "too late" in text
    for form in ({"id": ["1"], "action": ["burn"]}, {"action": ["cancel"]}):
        with pytest.raises(BadField):
            await act_on_runs(Api(scripted), PageRequest("", form=form))


STARTED = {"execution_id": "9", "status": "started", "commands_generated": 1}


async def test_a_second_click_starts_nothing_more() -> None:
    async def key_of(**fields: str) -> str | None:
        scripted = Scripted(**{"executions/1/rerun": STARTED})
        form = {name: [value] for name, value in fields.items()}
        await rerun(Api(scripted), PageRequest("/console/runs/1/rerun", {"id": "1"}, form=form))
        return scripted.keys["executions/1/rerun"]

    first = await key_of(once="a", workload='{"x": 1}')

    assert first is not None
    assert await key_of(once="a", workload='{"x": 1}') == first
    assert await key_of(once="a", workload='{"x": 2}') != first
    assert await key_of(once="b", workload='{"x": 1}') != first
    assert await key_of(workload='{"x": 1}') is None


async def test_each_selected_run_is_started_again_once() -> None:
    scripted = Scripted(**{f"executions/{number}/rerun": STARTED for number in "12"})
    form = {"id": ["1", "2"], "action": ["rerun"], "once": ["a"]}

    await act_on_runs(Api(scripted), PageRequest("/console/runs", form=form))

    first, second = scripted.keys.values()
    assert first
    assert second
    assert first != second


async def test_each_form_that_starts_something_has_a_key_of_its_own() -> None:
    api, request = Api(Scripted(executions=[entry()])), PageRequest("/console")
    texts = [html(await runs(api, request), request) for _ in range(2)]
    keys = [re.findall(r'name="once" value="([^"]{16})"', text) for text in texts]

    assert [len(found) for found in keys] == [1, 1]
    assert keys[0] != keys[1]


async def test_the_cause_is_read_without_a_click() -> None:
    cause = {"step": "call", "kind": "tool", "message": f"HTTP error: 503 {EVIL}", "line": 12}
    scripted = Scripted(
        **{
            "executions/1": detail(status="FAILED", error="step 'call' failed", cause=cause),
            "executions/1/steps": steps("call", state="FAILED"),
        }
    )
    request = PageRequest("/console/runs/1", names={"id": "1"})

    text = html(await run(Api(scripted), request), request)

    assert "HTTP error: 503 &lt;script&gt;" in text
    assert EVIL not in text
    assert "#L12" in text
    assert "/console/runs/1/steps/call" in text


async def test_a_run_that_ended_makes_the_script_ask_for_the_whole_page() -> None:
    scripted = Scripted(
        **{"executions/1": detail(), "executions/1/steps": steps("a"), "catalog/resource": None}
    )
    request = PageRequest("", names={"id": "1"}, query={"seen": "old"}, is_partial=True)

    page = await run(Api(scripted), request)

    assert isinstance(page, Page)
    assert page.is_stale


@pytest.mark.parametrize("tab", [*TABS, "nonsense"])
async def test_every_tab_is_there_and_escapes_what_it_shows(tab: str) -> None:
    scripted = Scripted(
        **{
            "executions/1": detail(path=EVIL),
            "executions/1/steps": steps(EVIL),
            "executions/1/events": {
                "execution_id": "1",
                "path": "a",
                "status": "COMPLETED",
                "events": [event("call.done", result={"x": EVIL}, node_name=EVIL)],
                "pagination": PAGES,
            },
            "executions": [entry(path=EVIL, error=EVIL)],
            "catalog/resource": {
                "catalog_id": "5",
                "path": EVIL,
                "kind": "playbook",
                "version": 2,
                "content": f"a: {EVIL}",
                "layout": [{"step": EVIL, "next": EVIL}],
                "payload": None,
                "meta": None,
                "created_at": "2026-06-15T12:00:00Z",
            },
        }
    )
    request = PageRequest("/console/runs/1", names={"id": "1"}, query={"tab": tab})

    text = html(await run(Api(scripted), request), request)

    assert EVIL not in text
    assert "alert(1)" in text


def event(kind: str, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": 7,
        "event_type": kind,
        "node_id": "s",
        "node_name": "s",
        "status": "COMPLETED",
        "created_at": "2026-06-15T12:00:00Z",
        "context": None,
        "result": None,
        "error": None,
        "catalog_id": "5",
        "parent_execution_id": None,
        "parent_event_id": None,
        "duration": None,
        "execution_id": "1",
        "timestamp": "2026-06-15T12:00:00Z",
        **changes,
    }


def inner(**fields: Any) -> dict[str, Any]:
    return {"context": {"command_id": "1:s:7", **fields}}


async def test_printed_lines_stay_readable_with_their_step_and_time() -> None:
    body = {"context": {"data": 1, "stdout": f"one\n{EVIL}\n", "stderr": "oops\n"}}
    events = [
        event("call.error", created_at="2026-06-15T12:00:09Z", result=inner(stdout="last\n")),
        event("call.done", created_at="2026-06-15T12:00:01Z", result=inner(result=body)),
    ]
    about = {"execution_id": "1", "path": "a", "status": "COMPLETED", "pagination": PAGES}
    scripted = Scripted(
        **{"executions/1": detail(), "executions/1/events": {**about, "events": events}}
    )
    request = PageRequest("", names={"id": "1"}, query={"tab": "output"})

    page = await run(Api(scripted), request)

    assert isinstance(page, Page)
    lines = page.shown["printed"]
    assert isinstance(lines, list)
    # Both questions have the same answer here.
    assert [(one.stream, one.text) for one in lines[::2]] == [
        ("stdout", "one"), ("stderr", "oops"), ("stdout", EVIL), ("stdout", "last"),
    ]  # fmt: skip
    assert EVIL not in render(page, request)


CALL = [
    event("command.issued", context={"tool_config": {"url": EVIL}, "args": {}}),
    event("command.claimed", result=inner(worker_id="w-1")),
    event("command.started", result=inner()),
    event(
        "call.done",
        result=inner(
            result={"context": {"data": {"x": 1}, "stdout": "said", "error": "exit 1\nlast"}}
        ),
    ),
    event("command.completed", result=inner(), status="error"),
]


def test_events_of_a_command_are_one_call() -> None:
    (call,) = calls_of([DetailEvent.model_validate(one) for one in reversed(CALL)])

    assert call.input == {"url": EVIL}
    assert (call.worker_id, call.attempts, call.status) == ("w-1", 1, "FAILED")
    assert (call.output, call.stdout, call.error) == ({"x": 1}, "said", "exit 1\nlast")


async def test_a_step_shows_what_went_in_and_came_out() -> None:
    scripted = Scripted(
        **{"executions/1": detail(events=CALL[::-1]), "executions/1/steps": steps("s")}
    )
    request = PageRequest("", names={"id": "1", "step": "s"})

    text = html(await step(Api(scripted), request), request)

    assert ("GET", "executions/1") in [one[:2] for one in scripted.asked]
    assert scripted.asked[0][2]["step"] == "s"
    assert "said" in text
    assert EVIL not in text


async def test_an_answer_goes_to_its_wait_and_nowhere_else() -> None:
    wait = {
        "wait_id": "8",
        "execution_id": "1",
        "path": "a",
        "version": 1,
        "step": "review",
        "iteration": None,
        "kind": "wait",
        "signal": "approve",
        "title": "",
        "description": "",
        "form": {"decision": {"enum": ["yes", "no"], "required": True}},
        "on_timeout": None,
        "since": "2026-06-15T12:00:00Z",
        "due_at": "",
    }
    signalled = {
        "execution_id": "1",
        "signal": "approve",
        "signal_id": "x",
        "status": "taken",
        "step": "review",
        "iteration": None,
    }
    scripted = Scripted(
        waits={"waits": [wait], "next": None}, **{"executions/1/signals/approve": signalled}
    )
    form = {"field.decision": ["yes"]}

    sent = await answer(Api(scripted), PageRequest("", names={"id": "1", "wait": "8"}, form=form))

    assert sent == Redirect("/console/runs/1")
    assert scripted.asked[-1][2] == {
        "id": "console-8",
        "payload": {"decision": "yes"},
        "wait_id": "8",
    }
    with pytest.raises(BadField, match="is over"):
        await answer(Api(scripted), PageRequest("", names={"id": "1", "wait": "9"}))


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/",
        "//evil.example",
        "/api",
        "/console\\@evil",
        "/consolex",
        "/console/\r\nset-cookie: a=b",
        "/console/\u2192",
    ],
)
async def test_a_login_leads_to_the_console_only(to: str) -> None:
    api = Api(Scripted(executions=[]))

    given = await login.enter(api, PageRequest("", form={"token": ["k"], "next": [to]}))

    assert given == Redirect("/console", token="k")


async def test_a_key_without_the_right_to_read_runs_is_a_key() -> None:
    refused = Api(Scripted(executions=(403, {"error": "no right"})))
    unknown = Api(Scripted(executions=(401, {"error": "who?"})))
    request = PageRequest("", form={"token": ["k"], "next": ["/console/waits"]})

    assert await login.enter(refused, request) == Redirect("/console/waits", token="k")
    with pytest.raises(Refused, match=r"who\?"):
        await login.enter(unknown, request)


async def test_an_answer_that_is_none_of_the_contract_is_named() -> None:
    with pytest.raises(Refused) as caught:
        await runs(Api(Scripted(executions={"no": "list"})), PageRequest("/console"))
    assert caught.value.status == 502


def test_a_value_is_cut_where_nobody_would_read_on() -> None:
    def pretty(value: Any) -> str:
        return Values().show(value).text

    assert pretty({"a": [1], "code": "x = 1\ny = 2\n"}) == "a:\n- 1\ncode: |\n  x = 1\n  y = 2"
    assert pretty({"a": "\U0001f600\nü"}) == "a: |-\n  \U0001f600\n  ü"
    assert pretty({"a": "é"}) == "a: é"
    assert pretty(5) == "5"
    assert Values().show("x" * (LONGEST_VALUE + 5)).rest == 5
    assert Values(MOST_TOGETHER).show("x" * (LONGEST_VALUE + 5)).rest == 0


def test_values_of_a_page_have_a_bound_together() -> None:
    values = Values()

    shown = [values.show(["x" * LONGEST_VALUE]) for _ in range(20)]

    assert sum(len(one.text) for one in shown) == MOST_TOGETHER
    assert shown[-1].text == ""
    assert shown[-1].rest > LONGEST_VALUE


CATALOG_ENTRY = {
    "catalog_id": "5",
    "path": "demo/a",
    "kind": "playbook",
    "version": 2,
    "content": "\nb: 1",
    "layout": None,
    "payload": None,
    "meta": None,
    "created_at": "2026-06-15T12:00:00Z",
}


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("demo/a b", "demo/a%20b"),
        ("a?b=1#c%41", "a%3Fb%3D1%23c%2541"),
        ("/lead/x", "%2Flead%2Fx"),
        ("a//b", "a%2F%2Fb"),
        ("a/", "a%2F"),
        ("../a", "..%2Fa"),
        ("a/./b", "a%2F.%2Fb"),
    ],
)
async def test_a_path_is_an_address_whatever_is_in_it(path: str, shown: str) -> None:
    api = Api(Scripted(executions=[entry(path=path)], **{"catalog/list": _entries(path)}))
    request = PageRequest("/console/playbooks")

    listed = html(await playbooks(api, request), request)
    ran = html(await runs(api, request), request)

    assert path_segments(path) == shown
    assert f'"/console/playbooks/{shown}"' in listed
    assert f'"/console/playbooks/{shown}?version=2"' in ran


def _entries(*paths: str) -> dict[str, Any]:
    return {"entries": [{**CATALOG_ENTRY, "path": path} for path in paths]}


async def test_a_run_whose_playbook_is_gone_is_listed() -> None:
    request = PageRequest("/console")

    text = html(await runs(Api(Scripted(executions=[entry(path=None)])), request), request)

    assert "/console/runs/1" in text
    assert "None" not in text


async def test_a_step_is_one_segment_of_an_address() -> None:
    layout = [{"step": "a/b?", "tool": {"kind": "noop"}}]
    scripted = Scripted(
        **{
            "executions/1": detail(),
            "executions/1/steps": steps("a/b?"),
            "catalog/resource": {**CATALOG_ENTRY, "layout": layout},
        }
    )
    request = PageRequest("/console/runs/1", names={"id": "1"})

    text = html(await run(Api(scripted), request), request)

    assert text.count('"/console/runs/1/steps/a%2Fb%3F"') == 2


async def test_an_area_of_text_begins_where_its_text_does() -> None:
    """A browser leaves out the first end of a line of an area."""
    scripted = Scripted(**{"catalog/resource": CATALOG_ENTRY})
    request = PageRequest("/console/edit", query={"path": "demo/a"})

    text = html(await edit(Api(scripted), request), request)

    assert ">\n\nb: 1</textarea>" in text


async def test_runs_of_a_playbook_are_found_among_those_of_longer_paths() -> None:
    longer = [entry(number, path="demo/ab") for number in range(30)]
    scripted = Scripted(executions=[*longer, entry(99)], **{"catalog/resource": CATALOG_ENTRY})
    request = PageRequest("/console/playbooks/demo/a", names={"path": "demo/a"})

    text = html(await playbook(Api(scripted), request), request)

    (asked,) = [one[2] for one in scripted.asked if one[1] == "executions"]
    assert asked["limit"] == "100"
    assert "/console/runs/99" in text
    assert "/console/runs/7" not in text


async def test_the_whole_group_is_dismissed() -> None:
    left = [{"has_more": True}, {"has_more": True}, {"has_more": False}]
    scripted = Scripted()

    async def answering(
        method: str, path: str, query: Mapping[str, str], body: bytes | None, _key: str | None
    ) -> Answer:
        given = {"fingerprint": "f", "dismissed": 100, **left[len(scripted.asked)]}
        await scripted(method, path, query, body)
        return Answer(200, orjson.dumps(given))

    form = {"fingerprint": ["f"], "action": ["dismiss"]}
    sent = await act_on_failures(Api(answering), PageRequest("", form=form))

    assert sent == Redirect("/console/failures")
    assert len(scripted.asked) == 3


@pytest.mark.parametrize("offset", ["\u00b2", "9" * 5000, "-1", "x"])
async def test_a_place_in_the_list_that_is_none_is_its_begin(offset: str) -> None:
    scripted = Scripted(failures={"failures": [], "is_complete": True})

    await failures(Api(scripted), PageRequest("", query={"offset": offset}))

    assert scripted.asked[0][2]["offset"] == "0"


@pytest.mark.parametrize("capabilities", [None, 5, {}, {"tools": None}, {"tools": 5}])
async def test_workers_say_what_they_like_of_their_tools(capabilities: Any) -> None:
    odd = worker(name="odd", labels=[1], capabilities=capabilities, runtime=None)
    request = PageRequest("/console/system")

    text = html(await system(Api(Scripted(**{"worker/pools": [odd]})), request), request)

    assert "not said" in text


async def test_what_a_page_leaves_out_is_a_link_to_it_alone() -> None:
    large = {"x": "y" * 50_000}
    call = [*CALL[:3], event("call.done", result=inner(result={"context": {"data": large}}))]
    scripted = Scripted(
        **{
            "executions/1": detail(events=call[::-1], result=large),
            "executions/1/steps": steps("s"),
        }
    )
    names = {"id": "1", "step": "s"}
    request = PageRequest("", names=names)
    alone = PageRequest("", names=names, query={"call": "1:s:7"})

    beside = html(await step(Api(scripted), request), request)
    whole = html(await step(Api(scripted), alone), alone)
    tab = PageRequest("", names=names, query={"tab": "result"})
    result = html(await run(Api(scripted), tab), tab)

    assert 'href="/console/runs/1/steps/s?call=1%3As%3A7"' in beside
    assert len(beside) < len(large["x"]) < len(whole)
    assert "?tab=result&amp;only=result" in result


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ({"status": "SOFT"}, {"soft_errors": "true"}),
        ({"since": "2026-11-27T20:00"}, {"since": "2026-11-27T20:00:00Z"}),
        ({"until": "2026-11-27T20:00:00+01:00"}, {"until": "2026-11-27T20:00:00+01:00"}),
    ],
)
async def test_times_and_errors_are_filters(query: dict[str, str], asked: dict[str, str]) -> None:
    scripted = Scripted(executions=[entry(number) for number in range(PAGE_SIZE)])
    request = PageRequest("/console", query=query)

    text = html(await runs(Api(scripted), request), request)

    assert scripted.asked[0][2] == {"limit": str(PAGE_SIZE), **asked}
    ((name, value),) = query.items()
    assert f"&amp;{name}={quote(value, safe='')}" in text.replace("%3A", ":").replace(":", "%3A")


def _saving(newest: int) -> Scripted:
    found: dict[str, Any] = {"path": "demo/a", "version": newest}
    return Scripted(
        **{
            "catalog/resource": {**CATALOG_ENTRY, "version": newest, "content": "theirs: 1\n"},
            "catalog/register": (409, {"error": "newer", "detail": found}),
            "catalog/playbooks/validate": {"valid": True, "errors": [], "problems": []},
        }
    )


async def test_who_would_overwrite_another_version_sees_it_first() -> None:
    scripted = _saving(3)
    form = {"content": ["mine: 1\n"], "path": ["demo/a"], "base": ["2"]}
    request = PageRequest("/console/edit", form=form)

    page = await save(Api(scripted), request)
    text = html(page, request)

    (sent,) = [body for _, name, body in scripted.asked if name == "catalog/register"]
    assert sent == {"content": "mine: 1\n", "newest_version": 2}
    assert isinstance(page, Page)
    assert page.status == 409
    assert "-theirs: 1" in text
    assert "+mine: 1" in text
    # The next press of the button is the answer.
    assert 'name="base" value="3"' in text
    assert "Save it over v3" in text


async def test_a_draft_with_a_new_path_needs_no_answer() -> None:
    scripted = _saving(0)
    form = {"content": ["mine: 1\n"], "path": ["demo/b"], "base": ["2"]}

    with pytest.raises(Refused):
        await save(Api(scripted), PageRequest("/console/edit", form=form))

    sent = [body["newest_version"] for _, name, body in scripted.asked if name.endswith("register")]
    assert sent == [2, 0]


def state(service: str, **changes: Any) -> dict[str, Any]:
    return {
        "service": service,
        "shard": 0,
        "version": "1.2.3",
        "revision": "abc",
        "python": "3.13.1",
        "uptime_seconds": 61.0,
        "readiness": {"nats": "ok"},
        "settings": [
            {"name": "token", "value": None, "source": "file"},
            {"name": "pause", "value": "1.0", "source": "default"},
        ],
        "queues": [],
        "outbox": None,
        "workers": None,
        "unknown": [],
        **changes,
    }


QUEUE = {"stream": "noetl_ingress", "consumer": "orchestrator_0", "pending": 7, "unanswered": 2}
SYSTEM = {
    "services": [
        state("orchestrator", queues=[QUEUE], workers=[{"worker_id": "w-1", "running": 4}]),
        state(
            "outbox",
            readiness={"nats": "ok", "postgres": "no answer in time"},
            outbox={"waiting": 3, "oldest_seconds": 90.0, "parked": 1, "pending": {"event": 3}},
        ),
    ],
    "silent": [{"service": "catalog", "shard": None, "reason": "no answer"}],
    "pools": [{"pool": "gpu", "waiting": 5, "running": 1, "oldest_seconds": 30.0}],
}
LETTER = {
    "name": "17",
    "subject": "noetl_ingress.0.9.events",
    "execution_id": "9",
    "reason": EVIL,
    "tries": 2,
    "given_up_at": "2026-06-15T12:00:00Z",
    "hindrance": None,
    "requeue": "noetl-server dead-letters replay 17",
}
GIVEN_UP = {"letters": [LETTER], "total": 1, "before": None, "rows": []}


def worker(**changes: Any) -> dict[str, Any]:
    return {
        "runtime_id": "1",
        "name": "w-1",
        "kind": "worker_pool",
        "uri": None,
        "status": "ready",
        "labels": {"pool_name": "gpu"},
        "capabilities": {"tools": ["python"]},
        "capacity": 8,
        "runtime": {"kind": "rust"},
        "heartbeat": "2026-06-15T12:00:00Z",
        "created_at": "2026-06-15T12:00:00Z",
        "updated_at": "2026-06-15T12:00:00Z",
        **changes,
    }


async def test_the_system_shows_services_workers_queues_outbox_and_what_was_given_up() -> None:
    answers = {"worker/pools": [worker()], "system": SYSTEM, "dead-letters": GIVEN_UP}
    request = PageRequest("/console/system")

    text = html(await system(Api(Scripted(**answers)), request), request)

    rows = [" ".join(re.sub("<[^>]*>", " ", row).split()) for row in text.split("<tr>")]
    assert any(row.startswith("orchestrator 0 ready 1.2.3 abc") for row in rows)
    assert any("outbox 0 not ready postgres: no answer in time" in row for row in rows)
    assert any("catalog silent no answer" in row for row in rows)
    assert any(row.startswith("w-1 rust gpu ready 4 8") for row in rows)
    assert any(row.startswith("gpu 5 1 30.0 s") for row in rows)
    assert any("noetl_ingress orchestrator_0 orchestrator 0 7 2 0" in row for row in rows)
    assert any(row.startswith("0 3 3 event 1 min 30 s 1") for row in rows)
    assert "/console/system/dead-letters" in text
    assert EVIL not in text


async def test_who_is_no_operator_sees_what_he_may_and_which_right_he_lacks() -> None:
    refused = (403, {"error": "not allowed"})
    answers = {"worker/pools": [worker()], "system": refused, "dead-letters": refused}
    request = PageRequest("/console/system")

    text = html(await system(Api(Scripted(**answers)), request), request)

    assert "system.read" in text
    assert "w-1" in text


async def test_dead_letters_name_their_reason_and_the_command() -> None:
    api = Api(Scripted(**{"dead-letters": GIVEN_UP}))
    request = PageRequest("/console/system/dead-letters")

    text = html(await given_up(api, request), request)

    assert "<code>noetl-server dead-letters replay 17</code>" in text
    assert 'href="/console/runs/9"' in text
    assert EVIL not in text


async def test_settings_tell_where_they_come_from_and_no_secret() -> None:
    api = Api(Scripted(system=SYSTEM))
    request = PageRequest("/console/system/settings")
    every = PageRequest("/console/system/settings", query={"all": "1"})

    text = html(await settings(api, request), request)
    whole = html(await settings(api, every), every)

    assert "a secret" in text
    assert "a file" in text
    assert "pause" not in text
    assert "pause" in whole


async def stored(**fields: str) -> tuple[Scripted, Page | Redirect, PageRequest]:
    scripted = Scripted(credentials={"items": [], "total": 0})
    form = {name: [value] for name, value in fields.items()}
    request = PageRequest("/console/credentials", form=form)
    return scripted, await store(Api(scripted), request), request


async def test_a_credential_is_typed_as_lines_or_as_json() -> None:
    lines = await stored(name="db", type="postgres", data="db_host = h\n\ndb_password=a=b #c\n")
    object_ = await stored(name="db", data='{"db_port": 5432}', allowed_paths="shop, demo")

    bodies = [scripted.asked[0][2] for scripted, _, _ in (lines, object_)]
    assert bodies == [
        {"name": "db", "type": "postgres", "data": {"db_host": "h", "db_password": "a=b #c"}},
        {
            "name": "db",
            "type": "generic",
            "data": {"db_port": 5432},
            "allowed_paths": ["shop", "demo"],
        },
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ('{"token": "hush"', "Data: no JSON"),
        ("token=hush\nhush", "Data: line 2 is not NAME=VALUE"),
        ("=hush", "Data: line 1 is not NAME=VALUE"),
        (" \n ", "Data: a field with a value is needed"),
        ('["hush"]', "Data: an object is needed"),
    ],
)
async def test_a_credential_that_cannot_be_taken_can_be_mended(data: str, problem: str) -> None:
    scripted, page, request = await stored(name="db", type="postgres", data=data, description=EVIL)
    text = html(page, request)

    assert isinstance(page, Page)
    assert page.status == 422
    assert [method for method, _, _ in scripted.asked] == ["GET"]
    assert problem in text
    assert "hush" not in str(page.shown["problem"])
    assert 'value="postgres"' in text
    assert EVIL not in text


def test_the_offered_types_are_those_of_the_documents() -> None:
    page = (Path(__file__).parents[3] / "docs/credentials.md").read_text()
    rows = {
        name: row
        for row in page.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    }
    for kind, fields in TYPES.items():
        if kind != "generic":
            assert [one for one in fields.split(", ") if f"`{one}`" not in rows[kind]] == []
