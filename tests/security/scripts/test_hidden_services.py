"""The edge's environment holds keys; a script of the same user finds it in `/proc`."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from noetl.stack.process import free_port
from noetl_testkit.stack import Stack
from noetl_testkit.users import as_user, user_can_import
from noetl_testkit.waiting import wait_until

_USER = 10001


@pytest.mark.slow
def test_the_edge_hides_what_it_was_told(nats_stack: Stack, tmp_path: Path) -> None:
    # What hides belongs to root then, which says nothing of root's own processes.
    is_root = os.geteuid() == 0
    within = as_user(_USER) if is_root else ()
    if is_root and not user_can_import(_USER, "noetl_api_gateway"):
        pytest.skip("this checkout is out of reach for other users")
    port = free_port()
    told = {**os.environ, **nats_stack.values(), "NOETL_HTTP_PORT": str(port), "HOME": "/nowhere"}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [*within, sys.executable, "-m", "noetl_api_gateway"],
            env=told,
            cwd="/",
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as edge,
    ):
        try:

            def lives() -> bool:
                assert edge.poll() is None, (tmp_path / "log").read_text()[-2000:]
                with contextlib.suppress(httpx.TransportError):
                    return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=30).is_success
                return False

            wait_until(lives, what="the edge lives")
            place = Path(f"/proc/{edge.pid}")
            assert f"Uid:\t{_USER if is_root else os.geteuid()}" in (place / "status").read_text()
            assert (place / "environ").stat().st_uid == 0
        finally:
            edge.kill()
