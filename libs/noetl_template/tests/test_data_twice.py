"""Text that a rendering put in from data is not run as a template by the next rendering."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noetl_template import (
    Json,
    literal,
    render_config,
    render_server,
    render_task,
    render_worker,
    templates_in,
)

HOSTILE = [
    "{{ 7*7 }}", "{% set x = 1 %}", "{{", "}}{{ 7*7 }}{{", "{%", "{% endraw %}{{ 7*7 }}",
    "{{{ x }}}", '"{{ 7*7 }}"', '{"a": "{{ 7*7 }}"}', '["{{ 7*7 }}"]', "a\r\n{{ 7*7 }}\n",
    "{# {{ 7*7 }} #}", "\\{{ 7*7 }}", "ü€😀 {{ secret }}", '{{ "a" | tojson }}', '{{ "a" }}',
]  # fmt: skip
SCOPE = {"secret": "s3cret", "x": "taken"}


def passed(config: Json, scope: dict[str, Json], *, renders: int = 1) -> Json:
    """Render by the server, then as often as a worker does."""
    value = render_config(config, scope, renders=renders)
    for _ in range(renders):
        value = render_worker(value, SCOPE)
    return value


@pytest.mark.parametrize("renders", [1, 2])
@pytest.mark.parametrize("text", HOSTILE)
def test_data_arrives_as_it_is(text: str, renders: int) -> None:
    scope = {**SCOPE, "data": text, "rows": [{"c": text}, 1, None]}
    rest = render_server({"a": "{{ rows }}"}, scope)

    assert passed("{{ rows[0].c }}", scope, renders=renders) == render_server(
        "{{ rows[0].c }}", scope
    )
    assert passed({"a": "{{ rows }}"}, scope, renders=renders) == rest
    assert passed("Dear {{ data }}!", scope, renders=renders) == f"Dear {text}!"
    assert passed("{% if true %}x{{ data }}{{ data }}{% endif %}", scope, renders=renders) == (
        f"x{text}{text}"
    )


@pytest.mark.parametrize("renders", [1, 2])
def test_two_pieces_do_not_make_a_tag(renders: int) -> None:
    scope = {**SCOPE, "a": "{", "b": "{ 7*7 }}", "c": "% set x = 1 %}"}

    assert passed("= {{ a }}{{ b }}", scope, renders=renders) == "= {{ 7*7 }}"
    assert passed("= {{ a }}{{ c }}", scope, renders=renders) == "= {% set x = 1 %}"
    assert passed("= {{ '{' }}{{ b }}", scope, renders=renders) == "= {{ 7*7 }}"
    assert passed("= {{ a }}{{ '{ 7*7 }}' }}", scope, renders=renders) == "= {{ 7*7 }}"


def test_text_of_the_template_stays_a_template_for_the_worker() -> None:
    scope = {**SCOPE, "data": "{{ secret }}"}

    assert render_config("{% raw %}{{ x }}{% endraw %}", scope) == "{{ x }}"
    assert render_config("{{ '{{ x }}' }}", scope) == "{{ x }}"
    assert passed("{% raw %}{{ x }}{% endraw %} {{ data }}", scope) == "taken {{ secret }}"
    mixed = render_config("{% raw %}{{ x }}{% endraw %} {{ data }}", scope, renders=2)
    assert render_task(mixed, SCOPE) == "taken {{ secret }}"


def test_data_without_tags_is_left_alone() -> None:
    scope = {"data": {"a": ["{", "% }", "x"]}, "text": "{"}

    rendered = render_config(
        {"d": "{{ data }}", "t": "{ {{ text }} }", "j": '{"x": {{ data }}}'}, scope
    )

    assert rendered == {"d": scope["data"], "t": "{ { }", "j": {"x": scope["data"]}}
    assert rendered["d"] is scope["data"]


@pytest.mark.parametrize("text", HOSTILE)
def test_data_of_server_and_worker_arrives_in_a_task(text: str) -> None:
    scope = {**SCOPE, "data": [text], "open": "{"}
    sent = render_config({"a": "{{ data }}", "b": "x {{ data }}"}, scope, renders=2)
    found = {"c": "{{ data }}", "d": "x {{ data[0] }}", "e": "{{ open }}{{ data[0] }}"}

    assert render_task({"sent": sent, **found}, scope) == {
        "sent": render_server({"a": "{{ data }}", "b": "x {{ data }}"}, scope),
        **render_worker(found, scope),
    }


@pytest.mark.parametrize(
    "text", ["x {%- raw %} {{ y }}{% endraw -%} z", "x {% raw -%} {{ y }} {%- endraw %} z"]
)
def test_raw_text_of_a_task_is_rendered_as_by_two_renderings(text: str) -> None:
    scope = {"y": 5}

    assert render_task(text, scope) == render_worker(render_worker(text, scope), scope)


@given(st.text(alphabet="{}%#\"'\\ ax7*|\r\né😀"), st.integers(1, 2))
def test_any_text_arrives(text: str, renders: int) -> None:
    value = literal([text], renders=renders)
    for _ in range(renders):
        value = render_worker(value, {})

    assert value == [text]
    assert passed("x {{ data }} y", {"data": text}, renders=renders) == f"x {text} y"


def test_templates_that_the_playbook_keeps_as_values_stay_templates() -> None:
    own = templates_in([{"sql": " SELECT {{ n }}\n", "plain": 7, "json": '{"a": "{{ b }}"}'}])
    scope: dict[str, Json] = {"mine": "SELECT {{ n }}", "data": "SELECT {{ m }}", "n": 5, "m": 6}
    config: Json = {"a": "{{ mine }}", "b": "{{ data }}", "c": "{{ mine }}; {{ data }}"}

    sent = render_config(config, scope, own=own)

    assert render_worker(sent, scope) == {
        "a": "SELECT 5",
        "b": "SELECT {{ m }}",
        "c": "SELECT 5; SELECT {{ m }}",
    }
    assert "{{ b }}" in own


def test_text_that_only_begins_like_json_is_one_template() -> None:
    text = "[" * 100_000 + "{{ x }}"

    assert templates_in([text]) == {text}
