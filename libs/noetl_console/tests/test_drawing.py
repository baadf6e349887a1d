"""Pictures and texts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from noetl_console.drawing.differences import differences
from noetl_console.drawing.forms import (
    json_object,
    typed_payload,
    typed_values,
    wait_fields,
    workload_fields,
)
from noetl_console.drawing.graph import MOST_STEPS, draw_graph
from noetl_console.drawing.moments import ago, seconds_text, short_time
from noetl_console.drawing.timeline import SCALE, draw_timeline
from noetl_console.requests import BadField, PageRequest
from noetl_contract.http.catalog.entries import UiField
from noetl_contract.http.executions.steps import StepEntry
from noetl_contract.waits.form import read_form

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)


def steps(**following: Any) -> list[dict[str, Any]]:
    return [
        {"step": name, "tool": {"kind": "noop"}, "next": after} for name, after in following.items()
    ]


def test_each_step_stands_below_all_that_lead_to_it() -> None:
    layout = steps(start={"arcs": [{"step": "a"}, {"step": "b"}]}, a="join", b=["join"], join=None)

    graph = draw_graph(layout, {"start": "COMPLETED", "a": "FAILED"})

    assert graph is not None
    by_name = {node.name: node for node in graph.nodes}
    assert by_name["start"].y < by_name["a"].y == by_name["b"].y < by_name["join"].y
    assert by_name["a"].x != by_name["b"].x
    assert [node.state for node in graph.nodes] == ["COMPLETED", "FAILED", "PENDING", "PENDING"]
    assert len(graph.edges) == 4
    assert not any(edge.is_back for edge in graph.edges)
    assert all(node.x + node.width <= graph.width for node in graph.nodes)


def test_an_arrow_back_is_drawn_and_moves_nothing() -> None:
    layout = steps(start="work", work=[{"step": "start", "when": "{{ again }}"}, "end"], end=None)

    graph = draw_graph(layout, {})

    assert graph is not None
    ys = {node.name: node.y for node in graph.nodes}
    assert ys["start"] < ys["work"] < ys["end"]
    (back,) = [edge for edge in graph.edges if edge.is_back]
    assert back.condition == "{{ again }}"


@pytest.mark.parametrize(
    "layout",
    [
        None,
        [],
        "text",
        [1, {"step": 5}],
        steps(**{f"s{number}": None for number in range(MOST_STEPS + 1)}),
    ],
)
def test_what_is_no_picture_is_none(layout: Any) -> None:
    assert draw_graph(layout, {}) is None


def test_steps_without_names_unknown_targets_and_doubles_are_left_out() -> None:
    layout = [*steps(start=["gone", {"when": "x"}, 5, "start"]), *steps(start="start")]

    graph = draw_graph(layout, {})

    assert graph is not None
    assert len(graph.nodes) == 1
    assert [edge.is_back for edge in graph.edges] == [True]


def test_a_long_chain_is_drawn_in_time() -> None:
    names = [f"s{number}" for number in range(MOST_STEPS)]
    layout = steps(**{name: names[number + 1 :] for number, name in enumerate(names)})

    graph = draw_graph(layout, {})

    assert graph is not None
    assert len({node.y for node in graph.nodes}) == MOST_STEPS


def step(**changes: Any) -> StepEntry:
    whole = {
        "step": "s",
        "state": "COMPLETED",
        "runs": 1,
        "first_started_at": NOW.isoformat(),
        "started_at": NOW.isoformat(),
        "ended_at": (NOW + timedelta(seconds=5)).isoformat(),
        "duration_seconds": 5.0,
        "attempts": 1,
        "iterations": None,
        "error": None,
        "worker_id": None,
    }
    return StepEntry.model_validate({**whole, **changes})


def test_bars_lie_along_the_time_of_the_run() -> None:
    end = NOW + timedelta(seconds=10)
    later = {"first_started_at": (NOW + timedelta(seconds=5)).isoformat(), "ended_at": None}

    bars = draw_timeline(
        [
            step(),
            step(**later, state="RUNNING", duration_seconds=None),
            step(first_started_at=None, started_at=None),
        ],
        begin=NOW.isoformat(),
        end=None,
        now=end,
    )

    assert [(bar.x, bar.width) for bar in bars] == [(0, SCALE / 2), (SCALE / 2, SCALE / 2), (0, 0)]
    assert [bar.duration for bar in bars] == ["5.0 s", "5.0 s", ""]


def test_a_loop_is_one_bar_with_its_parts() -> None:
    loop = step(iterations={"total": 200, "done": 50, "failed": 10})

    (bar,) = draw_timeline([loop], begin=NOW.isoformat(), end=NOW.isoformat(), now=NOW)

    assert (bar.done, bar.failed) == (0.25, 0.05)
    assert bar.x + bar.width <= SCALE


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0421, "42 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (61, "1 min 1 s"),
        (7200, "2 h"),
        (90_061, "1 d 1 h"),
    ],
)
def test_lengths_of_time(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text


def test_moments() -> None:
    assert ago("2026-06-15T11:59:00Z", NOW) == "1 min ago"
    assert ago("2026-06-18T12:00:05Z", NOW) == "in 3 d"
    assert ago("2026-06-15T12:00:00Z", NOW) == "now"
    assert [ago(text, NOW) for text in (None, "", "soon")] == ["", "", ""]
    assert short_time("2026-06-15T14:00:00.5+02:00") == "2026-06-15 12:00:00"


def test_differences_of_two_texts() -> None:
    assert [line.kind for line in differences("a\nb\n", "a\nc\n")] == [
        "place",
        "context",
        "removed",
        "added",
    ]
    assert differences("same", "same") == []
    lines = differences("---\n-- x\nb", "++ y\nb")
    assert [line.text for line in lines[1:]] == ["----", "--- x", "+++ y", " b"]


def ui_field(name: str, kind: str, default: Any = None, **changes: Any) -> UiField:
    whole = {
        "name": name,
        "kind": kind,
        "default": default,
        "description": None,
        "secret": False,
        "credential_glob": None,
        "options": None,
        "children": None,
    }
    return UiField.model_validate({**whole, **changes})


def test_a_text_of_several_lines_has_a_field_that_keeps_them() -> None:
    """A field of one line loses their ends in the browser."""
    fields = workload_fields(
        [ui_field("query", "string", "select 1\nfrom t"), ui_field("name", "string", "a")]
    )

    assert [one.kind for one in fields] == ["text", "string"]


FIELDS = workload_fields(
    [
        ui_field("text", "string", "hi"),
        ui_field("count", "integer", 3),
        ui_field("share", "number", 0.5),
        ui_field("on", "boolean", default=True),
        ui_field("level", "enum", "info", options=["info", "debug"]),
        ui_field("list", "array", [1]),
    ]
)


def typed_in(**values: str) -> PageRequest:
    shown = {one.name: one.value for one in FIELDS} | values
    return PageRequest("", form={f"field.{name}": [value] for name, value in shown.items()})


def test_what_was_not_changed_is_not_sent() -> None:
    assert typed_values(FIELDS, typed_in()) == {}
    assert typed_values(FIELDS, typed_in(count="4", list="[]", on="", level="debug")) == {
        "count": 4,
        "list": [],
        "on": False,
        "level": "debug",
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"count": "x"}, "count: 'x' is no integer"),
        ({"count": "9" * 19}, "count: '9+' is too large"),
        ({"share": "x"}, "share: 'x' is no number"),
        ({"share": "nan"}, "share: 'nan' is no number"),
        ({"share": "-inf"}, "share: '-inf' is no number"),
        ({"level": "x"}, "level: 'x' is none of info, debug"),
        ({"list": "[1"}, "list: no JSON"),
    ],
)
def test_what_is_no_value_is_named(values: dict[str, str], text: str) -> None:
    with pytest.raises(BadField, match=text.replace("[", r"\[")):
        typed_values(FIELDS, typed_in(**values))


def test_json_of_people() -> None:
    assert json_object(" ", label="Input") == {}
    with pytest.raises(BadField, match="Input: an object"):
        json_object("[]", label="Input")


def test_the_form_of_a_wait() -> None:
    form = read_form(
        {
            "decision": {"type": "string", "enum": ["yes", "no"], "required": True},
            "sure": {"type": "boolean", "default": True},
            "on": {"type": "date", "title": "Day"},
        }
    )

    fields = wait_fields(form)
    sent = PageRequest(
        "", form={"field.decision": ["no"], "field.sure": ["false"], "field.on": [""]}
    )

    assert [(one.kind, one.label) for one in fields] == [
        ("enum", "decision"),
        ("enum", "sure"),
        ("date", "Day"),
    ]
    assert typed_payload(form, sent) == {"decision": "no", "sure": False}
