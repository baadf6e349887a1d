"""The real command line: with a key it works, without one it names the missing key."""

from pathlib import Path

import pytest
from noetl_contract.access.rights import Role
from noetl_testkit.stack import Stack
from real_cli import QUICK, Cli, installed_in

from .callers import KEYS

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed_in(tmp_path_factory.mktemp("cli-with-a-key"))


def test_the_command_line_needs_a_key_with_the_right(asking_stack: Stack, home: Path) -> None:
    url = ("--server-url", asking_stack.url)

    def cli(*options: str) -> Cli:
        return Cli(home / "bin" / "noetl", home, asking_stack, (*url, *options), root="access")

    author = cli("--session-token", KEYS[Role.AUTHOR])
    viewer = cli("--session-token", KEYS[Role.VIEWER])
    nobody, stranger = cli(), cli("--session-token", "nk_stranger_" + "x" * 43)
    path = author.register(QUICK, "cli")
    execution_id = author.start(path)

    assert execution_id in viewer("status", execution_id)
    refused = ("run", path, "-r", "distributed")
    assert "`executions.start` is missing" in "".join(viewer.ended(*refused, code=1))
    for one in (nobody, stranger):
        out, err = one.ended(*refused, code=1)
        assert "401" in out + err
