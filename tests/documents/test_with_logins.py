"""The commands of the documents that need a server which asks for logins."""

from collections.abc import Iterator

import pytest
from fenced import Block, all_blocks
from noetl_contract.access.rights import Role
from noetl_testkit.stack import Stack
from reading import Session, session_of

from tests.security.access.callers import INTERNAL, KEYS

ALL = all_blocks()
RUN = [one for one in ALL if one.stack == "asking" and one.language == "sh" and one.is_run]
# With the files of the tutorial's first page, which its last one goes on with.
BLOCKS = [
    one for one in ALL if one in RUN or (one.page.endswith("1-first-playbook.md") and one.is_file)
]


@pytest.fixture(scope="module")
def session(asking_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("readers")
    known = {"ADMIN_KEY": KEYS[Role.ADMIN], "TOKEN": INTERNAL}
    # What `tools/compose_secrets` writes has the key of the stack's administrator.
    files = {".env": f"NOETL_ADMIN_KEY={KEYS[Role.ADMIN]}\n"}
    with session_of(asking_stack, [], BLOCKS, folder, environment=known, files=files) as session:
        yield session


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.place)
def test_commands_do_what_their_page_says(session: Session, block: Block) -> None:
    code, output = session.outputs[block.place]

    allowed = {int(one) for one in block.marks.get("exits", "0").split(" or ")}
    assert code in allowed, output
