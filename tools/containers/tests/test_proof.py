"""Judgements of the proof of the containers, about reports of an engine and a kernel."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bases import provide, wanted
from checks import process_of, small
from engine import CommandFailedError, Engine, NoEngineError, piped, run, running
from noetl_testkit.waiting import wait_until
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


def test_what_a_child_prints_is_read_by_the_next_and_neither_is_waited_for_in_vain() -> None:
    many = ["sh", "-c", "yes | head -c 1000000"]

    piped(many, ["sh", "-c", "test $(wc -c) = 1000000"], timeout=10)
    with pytest.raises(CommandFailedError, match=r"(?s)exit \[.*3\].*why"):
        piped(["yes"], ["sh", "-c", "echo why >&2; exit 3"], timeout=10)
    with pytest.raises(CommandFailedError, match=r"sh \| cat: not done in 0 s"):
        piped(["sh", "-c", "sleep 600"], ["cat"], timeout=0.2)
    with pytest.raises(CommandFailedError, match="nothing-like-it is not installed"):
        piped(["yes"], ["nothing-like-it"], timeout=10)


def docker(folder: Path, script: str) -> Engine:
    """Return an engine whose client is a script."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Engine("a script", {"PATH": f"{folder}:{os.environ['PATH']}"})


def test_a_stand_in_is_for_what_cannot_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    known = 'case "$*" in *noetl-standin/*) exit 0;; image*) exit 1;; '

    fetched = provide(docker(tmp_path, known + "pull*) exit 0;; esac"), TOP)
    assert not [base.image for base in fetched if "standin" in base.image]

    made = provide(docker(tmp_path, known + "pull*) exit 1;; esac"), TOP)
    assert {base.image.partition("/")[0] for base in made} == {"noetl-standin"}


@pytest.mark.skipif(os.geteuid() != 0, reason="an engine is brought up by root")
def test_a_proof_that_is_told_to_end_takes_its_engine_down(tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("mmdebstrap", "iptables"):
        (bin_ / name).symlink_to("/bin/true")
    docker(bin_, f'case "$1" in image) touch {tmp_path}/asked; exec sleep 600;; esac')
    daemon = bin_ / "dockerd"
    daemon.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    daemon.chmod(0o755)
    proof = subprocess.Popen(
        [sys.executable, TOP / "tools/containers/prove.py", "--own-engine"],
        env={
            **os.environ,
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "PYTHONPATH": str(TOP / "tools/image"),
        },
    )
    try:
        wait_until((tmp_path / "asked").exists, what="it looks for images")
        proof.terminate()

        assert proof.wait(30) == 128 + signal.SIGTERM
        assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
    finally:
        proof.kill()


def test_waiting_ends_and_says_for_what() -> None:
    with pytest.raises(CheckFailedError, match="not within 0 s: the moon"):
        until(lambda: None, seconds=0, what="the moon")
