"""Failures are alike when their messages are, but for numbers, ids, times and addresses."""

import pytest
from noetl_projector.projection.fingerprint import fingerprint_of, pattern_of


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("HTTP error: 503 after 3 tries", "HTTP error: <n> after <n> tries"),
        (
            "row 7f9c24e8-3b1a-4c5d-9e8f-0a1b2c3d4e5f is locked",
            "row <id> is locked",
        ),
        ("at 0x7fa3b2 in main", "at <hex> in main"),
        ("commit 3f9a0b7c failed", "commit <hex> failed"),
        ("since 2026-06-15T09:18:22.901Z", "since <time>"),
        ("two\n  lines", "two lines"),
        ("decade facade", "decade facade"),
    ],
)
def test_what_varies_is_left_out(message: str, pattern: str) -> None:
    assert pattern_of(message) == pattern


def test_playbook_and_step_count() -> None:
    prints = {
        fingerprint_of(path=path, step=step, message="broke 1")
        for path, step in (("a", "x"), ("a", "y"), ("b", "x"), ("a", None))
    }
    assert len(prints) == 4
    assert fingerprint_of(path="a", step="x", message="broke 2") in prints
    assert len(next(iter(prints))) == 16
