"""`up` with certificates: the edge speaks HTTPS only, and knows its worker by a certificate."""

import ssl
from pathlib import Path

import httpx
import pytest
from noetl_testkit.stack import execute, finish, register, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS

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


@pytest.mark.slow
def test_a_stack_with_certificates_is_ready_and_works(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    edge, worker = authority.issue("edge"), authority.issue("worker.example")
    guest = authority.issue("guest.example")
    environment = {
        "NOETL_AUTH": "on",
        "NOETL_TLS_CERT": str(edge.certificate),
        "NOETL_TLS_KEY": str(edge.key),
        "NOETL_TLS_CLIENT_CA": str(authority.file),
        "NOETL_CLIENT_CERTIFICATES": "worker.example=worker",
        # Of the worker, which registers and reports over HTTPS, and has no other login.
        "NOETL_TLS_CLIENT_CERT": str(worker.certificate),
        "NOETL_TLS_CLIENT_KEY": str(worker.key),
        "NOETL_WORKER_TRANSPORT": "http",
    }
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(authority.file)
    trust.load_cert_chain(guest.certificate, guest.key)

    with running_stack(environment=environment) as stack:
        url = f"https://127.0.0.1:{stack.port}"
        login = {"authorization": f"Bearer {stack.admin_key()}"}
        with (
            httpx.Client(
                base_url=url, verify=trust, timeout=PATIENCE_SECONDS, headers=login
            ) as client,
            httpx.Client(base_url=url, verify=trust, timeout=PATIENCE_SECONDS) as stranger,
        ):
            register(client, CHILD)
            register(client, PLAYBOOK)
            assert finish(client, execute(client, "security/https")) == "COMPLETED"
            assert stranger.get("/api/executions").status_code == 401
            workers = client.get("/api/worker/pools").json()
        try:
            httpx.get(f"http://127.0.0.1:{stack.port}/health", timeout=PATIENCE_SECONDS)
        except httpx.HTTPError as error:
            plain = str(error)
        else:
            plain = ""

    assert len(workers) == 1
    assert plain
