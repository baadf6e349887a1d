"""Proofs that `make proofs` runs, and its report of them."""

import re
import sys
from pathlib import Path

import pytest
from noetl.stack.process import birth
from noetl_testkit.waiting import wait_until
from prove_all import PROOFS, Proof, chosen, run, table

TOP = Path(__file__).parents[3]
MAKEFILE = (TOP / "Makefile").read_text(encoding="utf-8")
OTHERS = {
    *("setup", "demo", "check", "docs", "docs-serve", "test", "types", "lock", "release"),
    *("bench", "edge", "fat-cycle", "lists", "console-million", "proofs"),
}
"""Targets that are no proof: every day's work, and benchmarks."""


def recipes() -> dict[str, str]:
    found = re.findall(r"^([a-z-]+):[^\n=]*\n((?:\t.*\n?)+)", MAKEFILE, re.MULTILINE)
    return dict(found)


def test_each_target_is_a_proof_or_is_known_to_be_none() -> None:
    names = [proof.name for proof in PROOFS]

    assert sorted(names) == sorted(recipes().keys() - OTHERS)
    assert recipes().keys() >= OTHERS


def test_make_test_and_make_slow_tests_leave_no_test_out() -> None:
    assert '$(pytest) $(or $(path),-m "not slow")' in recipes()["test"]
    assert "$(pytest) -m slow " in recipes()["slow-tests"]


def test_each_recipe_names_programs_that_are_there() -> None:
    programs = {
        (target, word)
        for target, recipe in recipes().items()
        for word in re.findall(r"(?<![\w./-])[\w./-]+\.py\b", recipe)
    }

    assert len(programs) > 20
    assert [pair for pair in sorted(programs) if not (TOP / pair[1]).is_file()] == []


@pytest.mark.parametrize(
    ("code", "result", "more"),
    [
        ("print('it holds')", "passed", ""),
        ("print('it is so'); raise SystemExit(3)", "failed", "one.log"),
        ("print('not proven: no engine')", "not proven", "no engine"),
        ("print('NOT PROVEN: no base')", "not proven", "no base"),
        ("print('not proven: x'); raise SystemExit(1)", "failed", "one.log"),
        ("import time; time.sleep(600)", "hangs", "one.log"),
    ],
)
def test_a_proof_says_what_became_of_it(tmp_path: Path, code: str, result: str, more: str) -> None:
    seconds = 0.2 if result == "hangs" else 120

    outcome = run(Proof("one"), [sys.executable, "-c", code], logs=tmp_path, seconds=seconds)

    assert outcome.result == result
    (line,) = [line for line in table([outcome]) if line.startswith("one ")]
    assert result in line
    assert line.endswith(more or f" {outcome.seconds:.0f}")


def test_what_a_proof_that_hangs_has_started_ends_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    seconds = 1.0
    log = tmp_path / "one.log"
    while True:  # a machine that has not begun it yet
        run(Proof("one"), [sys.executable, "-c", code], logs=tmp_path, seconds=seconds)
        if said := log.read_text():
            break
        seconds *= 2

    wait_until(lambda: birth(int(said)) is None, what="its end")


def test_what_only_root_could_install_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = Proof("one", program="a-program-that-nobody-has")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    missing = run(proof, [sys.executable, "-c", "print(1)"], logs=tmp_path, seconds=120)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    root = run(proof, [sys.executable, "-c", "print(1)"], logs=tmp_path, seconds=120)

    assert (missing.result, root.result) == ("not proven", "passed")
    assert (
        missing.reason
        == "a-program-that-nobody-has is not installed, and only root could install it"
    )


def test_names_choose() -> None:
    assert [proof.name for proof in chosen(only=["chaos", "traces"], is_short=False)] == [
        "traces",
        "chaos",
    ]
    assert all(proof.is_short for proof in chosen(only=[], is_short=True))
    with pytest.raises(ValueError, match="no proof is called nothing"):
        chosen(only=["nothing"], is_short=False)
