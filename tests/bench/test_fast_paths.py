"""Paths that a benchmark leaves out are named as the page of fast paths names them."""

import sys
from typing import get_args

import pytest
from noetl_common.environment.fast_paths import FastPath

from benchmarks import fast_paths
from benchmarks.__main__ import main
from benchmarks.cases import steps

ROWS = """\
| name | what it does | where | figure | switch | fast | slow |
|---|---|---|---|---|---|---|
| `a-way` | It is quick. | `m` | 5 % | `NOETL_A=false`, `NOETL_B=0` | `t` | `t` |
| `other` | It is quick too. | `m` | 5 % | `NOETL_C=0` | `t` | `t` |
"""


def test_switches_are_those_of_the_page() -> None:
    assert fast_paths.switches(ROWS) == {
        "a-way": {"NOETL_A": "false", "NOETL_B": "0"},
        "other": {"NOETL_C": "0"},
    }
    ours = fast_paths.switches(fast_paths.PAGE.read_text())
    assert ours["inlined-commands"] == {"NOETL_FAST_PATH_ENABLED": "false"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--without", "no-such-way"), "no fast path is called no-such-way; there are requests, "),
        (("--without", "kept-details", "--cases", "loops"), "--without runs the case steps alone"),
        (("--without", "kept-details", "--write-docs"), "--without runs the case steps alone"),
    ],
)
def test_what_can_t_be_left_out_is_refused(
    arguments: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])

    with pytest.raises(SystemExit, match=told):
        main()


def test_paths_of_one_setting_are_left_out_together() -> None:
    known = fast_paths.switches(fast_paths.PAGE.read_text())

    assert fast_paths.without(["owners", "next-command", "requests"], known) == {
        "NOETL_FAST_PATHS_OFF": "owners,next-command",
        "NOETL_INGRESS": "stream",
    }


def test_the_page_and_the_setting_name_the_same() -> None:
    known = fast_paths.switches(fast_paths.PAGE.read_text())
    by_name = {name for name, found in known.items() if "NOETL_FAST_PATHS_OFF" in found}

    assert by_name == set(get_args(FastPath.__value__))
    assert all(known[name]["NOETL_FAST_PATHS_OFF"] == name for name in by_name)


def test_the_services_get_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def bench(transport: str, *, environment: dict[str, str]) -> None:
        given.append((transport, environment))
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "bench", bench)
    monkeypatch.setattr(sys, "argv", ["bench", "--without", "kept-details,kept-scripts"])
    with pytest.raises(KeyboardInterrupt):
        main()

    assert given == [
        ("nats", {"NOETL_DETAIL_KEPT_BYTES": "0", "NOETL_WORKER_PYTHON_KEPT": "0"}),
    ]
