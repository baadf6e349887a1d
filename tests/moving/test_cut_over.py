"""A cut-over and back under the eyes of clients: nothing is lost, nothing is doubled."""

import json
import secrets
from contextlib import closing

from cut_over import (
    HELLO,
    NOTHING_THERE,
    STARTS_THERE,
    WAITS,
    Address,
    Traffic,
    books,
    running_edges,
)
from noetl.main import app
from noetl_testkit.legacy import running_legacy
from noetl_testkit.stack import Stack
from typer.testing import CliRunner


def command(*arguments: str) -> tuple[int, dict[str, object]]:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    return done.exit_code, json.loads(done.stdout)


def test_w22_cut_over_and_back(nats_stack: Stack) -> None:
    path = f"moving/{secrets.token_hex(4)}"
    with running_legacy() as legacy, closing(Address(legacy.url)) as address:
        traffic = Traffic(address, path)
        for text in (HELLO.format(path=path, edition=1), HELLO.format(path=path, edition=2),
                     WAITS.format(path=path)):  # fmt: skip
            address.post("/api/catalog/register", {"content": text}).raise_for_status()
        secret = {"name": f"{path}/pg", "type": "postgres", "data": {"db_password": "p-1"}}
        address.post("/api/credentials", secret).raise_for_status()
        early = [int(address.post("/api/execute", {"path": f"{path}/hello"}).json()["execution_id"])
                 for _ in range(2)]  # fmt: skip
        traffic.there += early
        with running_edges(nats_stack, legacy, [STARTS_THERE, NOTHING_THERE]) as (before, after):
            address.move(before)
            into = ("import", "--from", legacy.url, "--data", str(nats_stack.data))
            code, report = command(*into)
            assert code == 0
            assert report["catalog"]["new"] == 3
            assert command(*into)[1]["catalog"]["already_there"] == 3
            with nats_stack.client() as client:
                got = client.get(
                    f"/api/credentials/{path.replace('/', '%2F')}%2Fpg?include_data=true"
                )
            assert got.json()["data"] == secret["data"]
            code, told = command("shadow", "--old", legacy.url, "--new", before)
            assert (code, told["same"]) == (0, True), told

            # The address is the edge's, and executions begin where they did.
            traffic.carry_on(early[0])
            traffic.carry_on(traffic.start())
            # They begin here; what began there goes on there, through the same door.
            address.move(after)
            mine = [traffic.start() for _ in range(3)]
            parked = traffic.start("waits")
            traffic.carry_on(early[1])
            assert {traffic.finish(number) for number in [*mine, *early]} == {"COMPLETED"}
            # And back: new ones begin there, what began here ends here.
            address.move(before)
            traffic.carry_on(traffic.start())
            address.post(f"/api/executions/{parked}/signals/go", {}).raise_for_status()
            assert traffic.finish(parked) == "COMPLETED"

        found = books([traffic], nats_stack.url, legacy, path)
        assert found.are_even, found
        assert (len(traffic.there), len(traffic.here)) == (4, 4)
        assert found.ends == {"COMPLETED": 8}
