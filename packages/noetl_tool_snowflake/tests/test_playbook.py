"""A playbook with both directions through the whole system, with stored credentials."""

from pathlib import Path

import httpx
from noetl_testkit.stack import execute, finish, register, running_stack
from snow_bench import Fakesnow, Keys

PLAYBOOK = Path(__file__).with_name("moving.yaml")


def test_a_playbook_moves_rows_there_and_back(fakesnow: Fakesnow, keys: Keys) -> None:
    login = fakesnow.login(user="bot")
    # As credentials of the original server have it.
    names = ("account", "user", "database")
    stored = {f"sf_{name}": login[name] for name in names}
    stored |= {name: login[name] for name in ("host", "port", "protocol")}
    stored |= {"sf_private_key": keys.private, "sf_public_key": keys.public}
    environment = {"NOETL_WORKER_SNOWFLAKE_SERVERS": fakesnow.address}
    with (
        running_stack(environment=environment) as stack,
        httpx.Client(base_url=stack.url, timeout=30, trust_env=False) as client,
    ):
        for name, kind, data in (
            ("sf_test", "snowflake", stored),
            ("pg_test", "postgres", stack.database_login("postgres")),
        ):
            body = {"name": name, "type": kind, "data": data}
            client.post("/api/credentials", json=body).raise_for_status()
        register(client, PLAYBOOK.read_text())
        execution_id = execute(client, "snowflake/moving")
        status = finish(client, execution_id, seconds=120)
        found = client.get(f"/api/executions/{execution_id}").text
        told = client.get(f"/api/executions/{execution_id}/status").json()

    assert status == "COMPLETED", told["error"]
    assert all(part in found for part in ("Ann; it's me", "Bob", "20.00"))
    assert "PRIVATE KEY" not in found
