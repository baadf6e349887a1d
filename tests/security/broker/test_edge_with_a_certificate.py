"""`up` with a certificate: the edge speaks HTTPS only, and the stack gets on with it."""

import ssl
from pathlib import Path

import httpx
from noetl_testkit.stack import execute, finish, register, running_stack

from libs.noetl_common.tests.certificates import Authority

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: https, path: security/https}
workflow:
  - step: start
    tool: {kind: playbook, path: security/child}
"""
CHILD = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: child, path: security/child}
workflow:
  - step: start
    tool: {kind: noop}
"""


def test_a_stack_with_tls_is_ready_and_works(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    pair = authority.issue("edge")
    environment = {"NOETL_TLS_CERT": str(pair.certificate), "NOETL_TLS_KEY": str(pair.key)}
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(authority.file)

    with (
        running_stack(environment=environment) as stack,
        httpx.Client(
            base_url=f"https://127.0.0.1:{stack.port}", verify=trust, timeout=35
        ) as client,
    ):
        register(client, CHILD)
        register(client, PLAYBOOK)
        # The worker starts the child over HTTPS.
        assert finish(client, execute(client, "security/https")) == "COMPLETED"
        try:
            httpx.get(f"http://127.0.0.1:{stack.port}/health", timeout=5)
        except httpx.HTTPError as error:
            plain = str(error)
        else:
            plain = ""

    assert plain
