"""The share of a core that a process wants, and the share that it may have."""

import time
from pathlib import Path

import pytest
from noetl_orchestrator.replicas import load


def test_a_process_that_works_wants_a_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meter = load.LoadMeter()
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    # However little it got of a busy machine: what it waited for counts too.
    busy = meter.look().wanted

    monkeypatch.setattr(load, "_SCHEDULED", tmp_path / "none")
    meter.look()
    time.sleep(0.2)
    assert busy > 0.5 > meter.look().wanted


def test_a_limit_of_the_container_counts_as_the_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr(load, "_QUOTA", limit)

    limit.write_text("25000 100000\n")
    assert load._allowed_cores() == 0.25
    limit.write_text("400000 100000\n")
    assert load._allowed_cores() == 1.0
    limit.write_text("max 100000\n")
    assert load._allowed_cores() == 1.0


def test_spare_is_told_by_what_wants_to_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running = tmp_path / "loadavg"
    monkeypatch.setattr(load, "_RUNNING", running)
    monkeypatch.setattr(load.os, "cpu_count", lambda: 2)
    meter = load.LoadMeter()

    running.write_text("0.1 0.1 0.1 40/300 999\n")
    spare = [meter.look().has_spare for _ in range(20)]
    running.write_text("9.9 9.9 9.9 1/300 999\n")
    again = [meter.look().has_spare for _ in range(80)]

    assert (spare[0], spare[-1], again[0], again[-1]) == (False, False, False, True)
