"""Secrets that a variable names a file of."""

from pathlib import Path

import pytest
from noetl_common.environment.secret_files import load_secrets, secret_of
from noetl_common.shards import BadShardMap, parse_shards


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("pass word\n")
    return path


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("password_file=/nowhere", r"password_file /nowhere can't be read: No such.* \(entry 0\)"),
        ("password=p;password_file=/nowhere", r"password and password_file are given \(entry 0\)"),
    ],
)
def test_a_password_of_the_map_that_cannot_be_had_is_an_error(entry: str, problem: str) -> None:
    with pytest.raises(BadShardMap, match=f"NOETL_SHARDS: {problem}"):
        parse_shards(f"host=a;user=u;{entry}")


def test_commands_take_them_into_the_environment(file: Path) -> None:
    environment = {"A_FILE": str(file), "B": "b", "C_FILE": str(file), "D_FILE": ""}
    load_secrets(environment, ("A", "B", "D"))

    assert environment == {"A": "pass word", "B": "b", "C_FILE": str(file), "D_FILE": ""}
    assert secret_of(environment, "X", "B") == "b"
    assert secret_of(environment, "X") is None


def test_only_the_line_breaks_at_the_end_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b" a\r\nb \r\n\n")

    assert secret_of({"A_FILE": str(path)}, "A") == " a\r\nb "
