"""Starts that ends cause: payloads with templates, which no failure keeps from being sent."""

from typing import Any

from engine_driver import Run
from noetl_contract.access.principal import Principal
from noetl_contract.failures.ended import EndedTrigger
from noetl_engine.outputs import Followup
from noetl_engine.playbook import parse_playbook

PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: p, path: reports/day}
workload: {day: monday, word: "{{ nothing.of.this }}"}
on_failure:
  playbook: alerts/notify
  payload: PAYLOAD
workflow:
- step: start
  tool: {kind: noop}
  set: {ctx.rows: "{{ output.n }}"}
  next: [{step: load}]
- step: load
  tool: {kind: noop}
"""


class Watched(Run):
    """A run whose ends triggers wait for."""

    triggers: tuple[EndedTrigger, ...] = ()

    def facts(self, **fields: Any):
        return super().facts(triggers=self.triggers, **fields)


def fail(payload: str, *triggers: EndedTrigger, **how: Any) -> list[Followup]:
    """The starts that the failure of the second step causes."""
    run = Watched(parse_playbook(PLAYBOOK.replace("PAYLOAD", payload)), **how)
    run.triggers = triggers
    run.start().work("start", data={"n": 3}).work("load", fails=True)
    return run.decisions[-1].followups


def test_templates_of_a_payload_see_the_end_and_the_values_of_the_execution():
    (one,) = fail(
        "{text: 'run {{ execution_id }} of {{ path }}: {{ cause.step }}', step: '{{ cause.step }}',"
        " all: ['{{ workload.day }}', {n: '{{ ctx.rows }}'}], status: '{{ ended.status }}',"
        " plain: 'true', none: '{{ nothing }}'}"
    )

    ended = one.payload["ended"]
    assert {key: value for key, value in one.payload.items() if key != "ended"} == {
        "text": f"run {ended['execution_id']} of tests/playbook: load",
        "step": "load",
        "all": ["monday", {"n": 3}],
        "status": "FAILED",
        "plain": "true",
        "none": None,
    }
    assert "payload_errors" not in ended


def test_the_payload_of_a_trigger_is_rendered_in_the_same_way():
    trigger = EndedTrigger(
        path="alerts/failed",
        statuses=("FAILED",),
        playbook="alerts/page",
        payload={"text": "{{ trigger }} {{ workload.day }}"},
    )
    _, other = fail("{}", trigger)

    assert other.path == "alerts/page"
    assert other.payload["text"] == "alerts/failed monday"


def test_values_that_a_restart_has_forgotten_are_read_for_it():
    (one,) = fail("{day: '{{ workload.day }} {{ ctx.rows }}'}", reload=lambda _turn: True)

    assert one.payload["day"] == "monday 3"


def test_a_template_that_fails_is_sent_as_written_and_named():
    (one,) = fail(
        "{good: '{{ status }}', bad: ['{{ status | nonsense }}'], word: '{{ nobody() }}'}"
    )

    assert one.payload["good"] == "FAILED"
    assert one.payload["bad"] == ["{{ status | nonsense }}"]
    assert one.payload["word"] == "{{ nobody() }}"
    assert [told["key"] for told in one.payload["ended"]["payload_errors"]] == [
        "payload.bad[0]",
        "payload.word",
    ]
    assert "nonsense" in one.payload["ended"]["payload_errors"][0]["error"]


def test_a_payload_that_got_too_large_is_sent_as_written():
    loop = "{% for _ in range(9000) %}xxxxxxxxxx{% endfor %}"
    (one,) = fail(f"{{a: '{loop}', b: '{{{{ path }}}}'}}")

    assert (one.payload["a"], one.payload["b"]) == (loop, "{{ path }}")
    assert one.payload["ended"]["payload_errors"] == [
        {"key": "payload", "error": "rendered it has 90029 bytes, the limit is 65536"}
    ]


def test_work_is_bounded_and_what_is_beyond_it_is_sent_as_written():
    loop = "{% for a in range(5000) %}{% for b in range(5000) %}x{% endfor %}{% endfor %}"
    (one,) = fail(f"{{a: '{loop}', b: '{{{{ path }}}}'}}")

    assert one.payload["a"] == loop
    assert one.payload["ended"]["payload_errors"][0]["key"] == "payload.a"


def test_what_a_trigger_starts_has_the_reach_of_who_registered_it():
    def trigger(path: str, **who: Any) -> EndedTrigger:
        registrant = Principal(kind="key", **who) if who else None
        return EndedTrigger(
            path=path,
            statuses=("FAILED",),
            playbook="team-a",
            webhook_url="https://alerts.example/hook",
            registrant=registrant,
        )

    found = fail(
        "{}",
        trigger("a", name="ada", namespaces=("team-a",)),
        trigger("b", name="root", namespaces=("",)),
        trigger("c"),
    )

    reach = [(one.trigger, one.kind, one.owner, one.namespace) for one in found]
    assert reach == [
        ("on_failure:tests/playbook", "playbook", None, None),
        ("a", "playbook", "ada", "team-a"),
        # Out of her reach: no namespace would be everywhere.
        ("a", "webhook", "ada", "noetl"),
        ("b", "playbook", "root", ""),
        ("b", "webhook", "root", ""),
        ("c", "playbook", None, None),
        ("c", "webhook", None, None),
    ]
    assert [one.is_trigger for one in found] == [False] + [True] * 6
