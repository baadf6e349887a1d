"""What the proof of the containers judges by, on what an engine and a kernel say."""

from pathlib import Path

import pytest
from bases import wanted
from checks import process_of, small
from engine import CommandFailedError, NoEngineError, run, running
from stack import CheckFailedError, until

TOP = Path(__file__).parents[3]
STATUS = """Name:\tpython
Uid:\t10001\t10001\t10001\t10001
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t{bound}
CapAmb:\t0000000000000000
NoNewPrivs:\t{fixed}
"""


def test_rights_are_read_from_what_the_kernel_says() -> None:
    confined = process_of(STATUS.format(bound="0000000000000000", fixed=1))
    free = process_of(STATUS.format(bound="00000000a80425fb", fixed=0))

    assert confined.uids == {"10001"}
    assert confined.capabilities == 0
    assert confined.has_no_new_privileges
    assert free.capabilities == 0xA80425FB
    assert not free.has_no_new_privileges


def test_a_large_image_is_named_unless_it_is_the_workers() -> None:
    said = small({"noetl-outbox:p": 170_000_000, "noetl-worker:p": 270_000_000})

    assert said.startswith("170 MB")
    with pytest.raises(CheckFailedError, match=r"noetl-outbox:p.*221"):
        small({"noetl-outbox:p": 221_000_000})


def test_the_images_of_others_are_found_in_the_files() -> None:
    found = wanted(TOP)

    assert set(found) == {"NOETL_BASE_IMAGE", "NOETL_NATS_IMAGE", "NOETL_POSTGRES_IMAGE"}
    assert found["NOETL_BASE_IMAGE"].startswith("python:")
    standins = {file.name for file in (TOP / "tools/containers/standins").iterdir()}
    assert {"nats.Dockerfile", "postgres.Dockerfile"} <= standins


def test_no_engine_is_said_and_not_a_failure_of_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(NoEngineError, match="docker is not installed"):
        running()


def test_a_command_that_fails_is_told_with_its_last_lines() -> None:
    with pytest.raises(CommandFailedError, match=r"exit 3\nwhy"):
        run(["sh", "-c", "echo why >&2; exit 3"], timeout=10)
    with pytest.raises(CommandFailedError, match="not done in 0 s"):
        run(["sh", "-c", "read x"], timeout=0)


def test_waiting_ends_and_says_for_what() -> None:
    with pytest.raises(CheckFailedError, match="not within 0 s: the moon"):
        until(lambda: None, seconds=0, what="the moon")
