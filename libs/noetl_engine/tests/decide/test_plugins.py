"""Executions keep the versions of their plug-ins from the start."""

from engine_driver import Run
from noetl_engine.playbook import parse_playbook
from noetl_engine.playbook.plugins import plugins_in, unknown_plugins
from noetl_engine.state.snapshot import dump_state, load_state

TEXT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: uses, path: tests/uses}
workflow:
- step: start
  tool: {kind: wasm, plugin: p/a}
  next: {arcs: [{step: plain}]}
- step: plain
  tool: {kind: python, code: "result = 1"}
  next: {arcs: [{step: list}]}
- step: list
  tool:
  - one: {kind: wasm, plugin: "p/b@2"}
  - two: {kind: wasm, plugin: p/a}
  - odd: {kind: wasm, plugin: "{{ workload.name }}"}
"""
PINS = {"p/a": {"path": "p/a", "version": 3, "catalog_id": 9, "digest": "d"}}


def test_a_playbook_names_its_plugins_once() -> None:
    assert parse_playbook(TEXT).plugins == ("p/a", "p/b@2")
    told = [(one.line, one.message) for one in unknown_plugins(plugins_in(TEXT), ["p/a"])]
    assert told == [(14, "plug-in 'p/b@2' is not registered: step 'list', task 'one' fails")]
    assert plugins_in("a: [") == []


def test_an_execution_keeps_the_versions_it_began_with() -> None:
    run = Run(parse_playbook(TEXT)).start(plugins=PINS)

    assert run.find("start").context["plugins"] == PINS
    again = load_state(dump_state(run.execution.state))
    assert again.plugins == PINS
    run.execution = run.restore()
    run.work("start")
    assert "plugins" not in run.find("plain").context
    run.work("plain")
    assert run.find("list").context["plugins"] == PINS


def test_others_carry_nothing_of_them() -> None:
    run = Run(parse_playbook(TEXT)).start()

    assert run.execution.state.plugins == {}
    assert "plugins" not in run.find("start").context
    assert b"plugins" not in dump_state(run.execution.state)
