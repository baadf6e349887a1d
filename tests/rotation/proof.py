"""A shard's password changed under load: ``make rotation``, for a minute.

Two shards on a PostgreSQL server of their own. Executions are started all the time, while the role
of the shards gets other passwords and all of its connections are cut, now before the stored
credential has the new one, now after. Every execution that was accepted must complete with each
command run once, and no process may have been restarted.
"""

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
from noetl_testkit.postgres import Database, running_postgres
from noetl_testkit.stack import FINISHED, Stack, register, running_stack

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: rotation, path: rotation/three}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: fan}]}
  - step: fan
    loop: {in: "{{ range(3) }}", iterator: n, spec: {mode: parallel}}
    tool: {kind: python, code: "result = {'ok': True}"}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
"""
ROLE, CREDENTIAL, COMMANDS = "shards", "shards-login", 5
_OTHERWISE = """
SELECT execution_id FROM noetl.event
WHERE event_type = 'command.completed' AND execution_id = ANY($1)
GROUP BY 1 HAVING count(*) <> $2
"""
_DONE = """
SELECT count(*) FROM noetl.event
WHERE event_type = 'command.completed' AND execution_id = ANY($1)
"""


@dataclass
class Found:
    """Results of the proof."""

    accepted: list[int] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    rotations: int = 0
    cut: int = 0
    commands: int = 0
    otherwise: int = 0
    renewed: float = 0.0


class Rotation:
    """One run."""

    def __init__(self, stack: Stack, server: Database, *, seconds: float, every: float) -> None:
        self._stack = stack
        self._server = server
        self._seconds = seconds
        self._every = every
        self._headers = (
            {"authorization": f"Bearer {stack.admin_key()}"} if stack.admin_key() else {}
        )
        self.found = Found()

    async def run(self) -> None:
        """Start executions and change the password until the time is over; then wait for all."""
        async with httpx.AsyncClient(
            base_url=self._stack.url, headers=self._headers, timeout=40
        ) as client:
            await self._store(client, "first")
            loop = asyncio.get_running_loop()
            until = loop.time() + self._seconds
            async with asyncio.TaskGroup() as group:
                group.create_task(self._rotate(client, until))
                for _ in range(4):
                    group.create_task(self._start(client, until))
            async with asyncio.timeout(120):
                for execution_id in self.found.accepted:
                    self.found.statuses[await _ended(client, execution_id)] += 1
        for shard in (0, 1):
            connection = await asyncpg.connect(
                self._server.address.dsn.replace("/postgres", f"/shard_{shard}")
            )
            try:
                self.found.commands += await connection.fetchval(_DONE, self.found.accepted)
                self.found.otherwise += len(
                    await connection.fetch(_OTHERWISE, self.found.accepted, COMMANDS)
                )
            finally:
                await connection.close()

    async def _start(self, client: httpx.AsyncClient, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            answer = await client.post("/api/execute", json={"path": "rotation/three"})
            if answer.status_code == 200:
                self.found.accepted.append(int(answer.json()["execution_id"]))
            else:
                self.found.refused[f"{answer.status_code} {answer.text[:120]}"] += 1
            await asyncio.sleep(random.uniform(0.05, 0.25))

    async def _rotate(self, client: httpx.AsyncClient, until: float) -> None:
        while asyncio.get_running_loop().time() < until - self._every:
            await asyncio.sleep(self._every)
            password = secrets.token_hex(12)
            is_stored_first = self.found.rotations % 2 == 1
            if is_stored_first:
                await self._store(client, password)
            rows = await asyncio.to_thread(
                self._server.run,
                f"ALTER ROLE {ROLE} PASSWORD '{password}'; SELECT count(pg_terminate_backend(pid))"
                f" FROM pg_stat_activity WHERE usename = '{ROLE}'",
            )
            self.found.cut += int(rows.splitlines()[-1])
            if not is_stored_first:
                await asyncio.sleep(self._every / 4)
                await self._store(client, password)
            self.found.rotations += 1

    async def _store(self, client: httpx.AsyncClient, password: str) -> None:
        body = {
            "name": CREDENTIAL, "type": "postgres", "data": {"db_password": password},
            "allowed_paths": [],
        }  # fmt: skip
        (await client.post("/api/credentials", json=body)).raise_for_status()


async def _ended(client: httpx.AsyncClient, execution_id: int) -> str:
    while True:
        answer = await client.get(f"/api/executions/{execution_id}/status")
        status = answer.json().get("status")
        if status in FINISHED:
            return str(status)
        await asyncio.sleep(0.1)


def main() -> int:
    """Run, print the results, and return 0 when nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two changes")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_postgres(Path(folder) / "postgres") as server,
    ):
        place = server.maintenance
        place.run(f"CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD 'first'")
        for name in ("shard_0", "shard_1", "cluster"):
            place.run(f"CREATE DATABASE {name}")
        at = f"host={place.host};port={place.port}"
        login = f"{at};user={ROLE};password=first;credential={CREDENTIAL}"
        environment = {
            "NOETL_SHARDS": f"{login};database=shard_0,{login};database=shard_1",
            "NOETL_CLUSTER_DSN": f"{at};user={place.user};password={place.password}"
            ";database=cluster",
            "NOETL_REQUEST_PATIENCE_SECONDS": "10",
        }
        with running_stack(environment=environment) as stack:
            with stack.client() as client:
                register(client, PLAYBOOK)
            before = {name: one["pid"] for name, one in stack.services().items()}
            rotation = Rotation(stack, place, seconds=args.seconds, every=args.every)
            asyncio.run(rotation.run())
            after = {name: one["pid"] for name, one in stack.services().items()}
    found = rotation.found
    restarted = sorted(name for name in before if before[name] != after.get(name))
    print(f"password changed {found.rotations} times, {found.cut} connections cut")
    print(f"executions accepted {len(found.accepted)}: {dict(found.statuses)}")
    print(
        f"commands completed {found.commands} of {COMMANDS * len(found.accepted)}, "
        f"executions with another number {found.otherwise}; "
        f"processes restarted: {restarted or 'none'}"
    )
    print(f"starts refused: {dict(found.refused) or 'none'}")
    is_right = (
        set(found.statuses) == {"COMPLETED"}
        and found.rotations > 0
        and found.commands == COMMANDS * len(found.accepted)
        and not found.otherwise
        and not restarted
    )
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
