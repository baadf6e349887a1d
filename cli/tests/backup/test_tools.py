"""The choice among PostgreSQL's programs, and the error when none suits."""

from pathlib import Path

import pytest
from noetl.backup.tools import find_tool
from noetl.stack.errors import StackError


def program(folder: Path, version: str) -> Path:
    path = folder / "pg_dump"
    path.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n")
    path.chmod(0o755)
    return path


def test_one_on_path_is_taken(tmp_path: Path) -> None:
    path = program(tmp_path, "18.1 (Debian 18.1-1)")

    tool = find_tool("pg_dump", at_least=17, search=str(tmp_path))

    assert (tool.path, tool.major) == (path, 18)


def test_one_that_is_too_old_is_named_with_what_to_install(tmp_path: Path) -> None:
    path = program(tmp_path, "15.4")

    with pytest.raises(StackError, match="pg_dump is too old: version 17 or newer") as refused:
        find_tool("pg_dump", at_least=17, search=str(tmp_path))

    assert f"{path} of version 15" in str(refused.value)
    assert "postgresql-client-17" in str(refused.value)


def test_none_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="pg_restore is missing: install"):
        find_tool("pg_restore", at_least=17, search=str(tmp_path))


def test_an_old_one_on_path_does_not_hide_the_embedded_server_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "9.6")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert find_tool("pg_dump", at_least=17).major >= 17


async def test_a_failure_is_told_in_the_program_s_words(tmp_path: Path) -> None:
    tool = find_tool("pg_restore", at_least=17)

    with pytest.raises(StackError, match=r"pg_restore failed: .*could not open input file"):
        await tool.run(["--list", str(tmp_path / "nothing.dump")], seconds=10)
