"""Every service restarted, and the schema of the release before migrated, under load.

    make rolling                      # both
    make rolling args="--only restart"
    make rolling args="--only upgrade --previous COMMIT"
    make rolling args="--only reshard"
    make rolling args="--only absence --seconds 300"

Two replicas of each service and of both kinds of workers run as processes; clients and workers
reach the edges through a TCP balancer that goes by their readiness, as a Service of Kubernetes
does. Starts, reads and event streams arrive at a steady rate meanwhile.

`restart` stops each process with SIGTERM and starts it again. `upgrade` begins with the code and
the schema of an earlier commit, migrates while its services run, and then replaces them one by one.
`reshard` stops everything with work in flight, doubles the shards with a command that is killed
again and again, and goes on with two. `absence` kills all orchestrators, with both ways in of
writes (`NOETL_INGRESS`), and brings them back after two minutes in which the outcomes come.

It exits 0 when no request failed, every accepted execution has completed with a whole log, each
command has run once and nothing is left in queues.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import nats
from absence import absence
from balancer import Balancer
from fleet import EDGE, SERVICES, Fleet
from load import NAMES, Load, playbooks
from noetl.stack.process import free_port
from noetl.stack.servers import binaries, migrations
from noetl_contract.sharding import shard_for
from noetl_testkit.nats import running_nats
from noetl_testkit.oracles.findings import Findings
from noetl_testkit.oracles.judging import check_digests, judge
from noetl_testkit.postgres import Database, running_postgres
from noetl_testkit.stack import command, execute, finish, register
from noetl_testkit.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
STALL_SECONDS = 10.0
"""So long an execution may stand still while processes are replaced: others take over."""
_SETUP_SECONDS = 600
LEFT = """
SELECT
    (SELECT count(*) FROM noetl.execution_state WHERE status = 'RUNNING') AS running,
    (SELECT count(*) FROM noetl.outbox WHERE status NOT IN ('PUBLISHED', 'PARKED')) AS outbox,
    (SELECT count(*) FROM noetl.outbox WHERE status = 'PARKED') AS parked
"""
LATE = """
SELECT event_type, node_name, worker_id, created_at, meta
FROM noetl.event WHERE meta ->> 'late' = 'true' ORDER BY event_id LIMIT 10
"""
WAITS = """
SELECT extract(EPOCH FROM max(now() - state_change))::FLOAT8
FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()
"""

PROBLEMS: list[str] = []


def problem(text: str) -> None:
    print("  PROBLEM", text)
    PROBLEMS.append(text)


@contextmanager
def loaded(load: Load) -> Iterator[None]:
    """Keep the load up during the block; then wait until all started executions have ended."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(load.run())
        except BaseException as error:  # noqa: BLE001 -- told by the other thread
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: len(load.accepted) >= 10, what="the load runs")
        yield
        more = len(load.accepted) + 10
        wait_until(lambda: len(load.accepted) >= more, what="it goes on")
    finally:
        load.stopping = True
        thread.join(120)
    if failures:
        raise failures[0]
    if thread.is_alive():
        problem("executions have not ended after two minutes")


def roll(fleet: Fleet) -> None:
    """Replace every process, one after the other."""
    for service in SERVICES:
        began = time.monotonic()
        for replica in fleet.of(service):
            fleet.roll(replica)
        print(f"  {service}: {time.monotonic() - began:.1f} s")


def judged(fleet: Fleet, accepted: Iterable[int], *, stall_limit: float | None = None) -> Findings:
    """Ask all oracles about everything in the databases; print what they found."""
    findings = asyncio.run(
        judge(
            *(one.dsn for one in fleet.shards),
            accepted=set(accepted),
            effects=fleet.ledger.effects,
            stall_limit=stall_limit,
        )
    )
    check_digests(findings, environment=fleet.addresses.environment)
    print(f"  {findings.line()}")
    for one in findings.problems[:20]:
        problem(one)
    return findings


def tell(load: Load, fleet: Fleet) -> Findings:
    """Print the figures, and look at every log; return the findings there."""
    print(f"  requests: {load.counts.total()} {dict(load.counts)}")
    slowest = {what: f"{seconds:.2f} s" for what, seconds in load.slowest.items()}
    print(f"  failed: {len(load.failed)}; slowest: {slowest}")
    print(f"  longest time without an answer: {load.gap:.2f} s; streams gone on with: {load.cuts}")
    for one in load.failed[:20]:
        problem(one)
    findings = judged(fleet, load.accepted, stall_limit=STALL_SECONDS)
    print(f"  {len(load.accepted)} executions ended {dict(load.statuses)}")
    if findings.late_rows:
        print("  " + fleet.database.run(LATE).replace("\n", "\n  "))
    if load.statuses != {"COMPLETED": len(load.accepted)}:
        problem(f"{len(load.accepted)} executions ended {dict(load.statuses)}")
    wait_until(lambda: not any(left(fleet.database)[:2]), what="queues are empty")
    if left(fleet.database)[2]:
        problem("rows of the outbox are parked")
    if dead := asyncio.run(messages(fleet.nats_url, "noetl_dead")):
        problem(f"{dead} dead letters")
    return findings


def left(database: Database) -> tuple[int, ...]:
    return tuple(map(int, database.run(LEFT).split("|")))


async def messages(url: str, stream: str) -> int:
    client = await nats.connect(url)
    try:
        return int((await client.jetstream().stream_info(stream)).state.messages)
    finally:
        await client.close()


def fill_catalog(fleet: Fleet) -> None:
    with httpx.Client(base_url=fleet.url, timeout=40) as client:
        for name, steps in playbooks(fleet.ledger).items():
            head = f"apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: {name}, path: "
            register(client, f"{head}rolling/{name}}}\nworkflow:{steps}")


class LockWatch(threading.Thread):
    """Looks at the server for statements that wait for a lock; keeps the longest wait."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self.ends = threading.Event()
        self._dsn = dsn

    def run(self) -> None:
        asyncio.run(self._look())

    async def _look(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            while not self.ends.wait(0.02):
                self.longest = max(self.longest, await connection.fetchval(WAITS) or 0.0)
        finally:
            await connection.close()


def migrate_with(database: Database, folder: Path) -> None:
    """Bring the schema to the end of a folder's migrations."""
    done = subprocess.run(
        [
            str(binaries.dbmate()),
            f"--migrations-dir={folder}",
            f"--migrations-table={migrations.MIGRATIONS_TABLE}",
            *("--no-dump-schema", "up", "--strict"),
        ],
        env={"DATABASE_URL": f"{database.dsn}?sslmode=disable"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"the earlier schema: {done.stderr or done.stdout}")


def restart(fleet: Fleet, balancer: Balancer, rate: float) -> None:
    migrations.migrate(fleet.database.dsn)
    start(fleet, balancer)
    load = Load(fleet.url, rate)
    with loaded(load):
        roll(fleet)
    if set(fleet.ends) != {0}:
        problem(f"exit codes after SIGTERM: {dict(fleet.ends)}")
    findings = tell(load, fleet)
    if findings.late_rows or findings.reissued:
        problem("commands were handed out again, or their outcomes came twice")


def upgrade(fleet: Fleet, balancer: Balancer, rate: float, code: Path) -> None:
    migrate_with(fleet.database, code / "migrations")
    fleet.code = code
    start(fleet, balancer)
    load = Load(fleet.url, rate)
    with loaded(load):
        watch = LockWatch(fleet.database.dsn)
        watch.start()
        at = time.monotonic()
        done = subprocess.run(
            [*command(), "migrate"],
            env={"PATH": "/usr/bin:/bin", **fleet.database.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        print(f"  {done.stdout.strip()}")
        if done.returncode != 0:
            problem(f"migrate: {done.stderr}")
        seconds = time.monotonic() - at
        watch.ends.set()
        watch.join(10)
        print(f"  migrated in {seconds:.1f} s; longest wait for a lock: {watch.longest:.2f} s")
        settled = len(load.accepted) + 10
        wait_until(lambda: len(load.accepted) >= settled)
        fleet.code = None
        roll(fleet)
    print(f"  exit codes of the release before: {dict(fleet.ends)}")
    tell(load, fleet)


def leave(fleet: Fleet, balancer: Balancer, seconds: float) -> None:
    migrations.migrate(fleet.database.dsn)
    start(fleet, balancer)
    with httpx.Client(base_url=fleet.url, timeout=60) as client:
        for one in absence(fleet, client, fleet.scratch, seconds=seconds):
            problem(one)


def divide(fleet: Fleet, balancer: Balancer) -> None:
    migrations.migrate(fleet.database.dsn)
    start(fleet, balancer)
    with httpx.Client(base_url=fleet.url, timeout=40) as client:
        ids = {execute(client, f"rolling/{name}"): name for _ in range(20) for name in NAMES}
    fleet.stop(EDGE, "worker-nats", "worker-http")
    wait_until(
        lambda: asyncio.run(messages(fleet.nats_url, "noetl_ingress")) == 0,
        what="the orchestrators have taken all messages",
    )
    running = left(fleet.database)[0]
    fleet.stop("catalog", "orchestrator", "outbox", "projector")
    began = time.monotonic()
    new = replace(fleet.database, name="second")
    kills = reshard_under_kills(fleet, new)
    print(
        f"  {len(ids)} executions, {running} of them running: divided in "
        f"{time.monotonic() - began:.1f} s, {kills} kills included"
    )
    doubled = Fleet(fleet.folder, [fleet.database, new], fleet.nats_url, fleet.url, keys=fleet.keys)
    try:
        balancer.watch([one.port for one in doubled.of(EDGE)])
        doubled.up()
        wait_until(lambda: _answers(fleet.url), what="the balancer has an edge")
        with httpx.Client(base_url=fleet.url, timeout=40) as client:
            more = {execute(client, f"rolling/{name}"): name for name in NAMES}
            ended = Counter(finish(client, one, seconds=180) for one in ids | more)
        print(f"  they and {len(more)} new ones ended {dict(ended)}")
        if set(ended) != {"COMPLETED"}:
            problem(f"they ended {dict(ended)}")
        check_shards(doubled, ids | more)
    finally:
        doubled.down()


def reshard_under_kills(fleet: Fleet, new: Database) -> int:
    """Double the shards; kill the command after each step until it has none left."""
    shard = fleet.addresses.cluster
    variables = {
        **os.environ,
        **fleet.addresses.environment,
        "NOETL_NATS_URL": fleet.nats_url,
        "NOETL_NEW_SHARDS": replace(shard, database=new.name).entry,
    }
    kills = 0
    end = time.monotonic() + 240
    while time.monotonic() < end:
        with subprocess.Popen(
            [*command(), "reshard"],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            for line in running.stdout:
                if line.startswith("there are 2 shards"):
                    return kills
                running.kill()
            complaint = running.stderr.read()
        if "wait" in complaint:
            continue  # heartbeats of a moment ago, or a session of the one that was killed
        if running.returncode == 1:
            if "holds shard 0 of 2" in complaint:
                return kills  # killed behind its last step
            sys.exit(complaint)
        kills += 1
    sys.exit("the shards are not doubled after four minutes")


def check_shards(fleet: Fleet, ids: Mapping[int, str]) -> None:
    """Look at the logs of both shards, and for rows on the wrong one."""
    for shard, database in enumerate(fleet.shards):
        here = [one for one in ids if shard_for(one, shard_count=2) == shard]
        held = database.run("SELECT DISTINCT execution_id FROM noetl.event").splitlines()
        if wrong := set(map(int, held)) ^ set(here):
            problem(f"shard {shard} lacks, or holds of the other one: {sorted(wrong)}")
        wait_until(lambda of=database: not any(left(of)), what="queues are empty")
    judged(fleet, ids)
    if dead := asyncio.run(messages(fleet.nats_url, "noetl_dead")):
        problem(f"{dead} dead letters")


def start(fleet: Fleet, balancer: Balancer) -> None:
    balancer.watch([one.port for one in fleet.of(EDGE)])
    fleet.up()
    wait_until(lambda: _answers(fleet.url), what="the balancer has an edge")
    fill_catalog(fleet)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def fleet_at(folder: Path, name: str) -> Iterator[tuple[Fleet, Balancer]]:
    logs = folder / name
    logs.mkdir()
    with (
        running_postgres(logs / "postgres") as server,
        running_nats(logs / "nats") as broker,
        Balancer(free_port()) as balancer,
    ):
        database = server.at("noetl")
        url = f"http://127.0.0.1:{balancer.port}"
        fleet = Fleet(logs, [database], broker.url, url)
        try:
            yield fleet, balancer
        finally:
            fleet.down()


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out beside the repository's own folder, and install it there."""
    place = folder / "previous"
    git = ["git", "-C", str(ROOT)]
    subprocess.run([*git, "worktree", "add", "--detach", "-q", str(place), commit], check=True)
    try:
        subprocess.run(
            ["make", "-C", str(place), "setup"],
            check=True,
            timeout=_SETUP_SECONDS,
            stdout=sys.stderr,
        )
        yield place
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(place)], check=False)


def previous() -> str:
    """Return the tag of the last release; while there is none, the last main in front of HEAD."""

    def found(*words: str) -> str:
        git = ["git", "-C", str(ROOT), *words]
        return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()

    here = found("rev-parse", "HEAD")
    mains = [found("rev-parse", "-q", "--verify", name) for name in ("origin/main", "main")]
    return found("describe", "--tags", "--abbrev=0", "HEAD^") or next(
        (main for main in mains if main not in {"", here}), "HEAD^"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--only", choices=("restart", "upgrade", "reshard", "absence"))
    arguments.add_argument("--seconds", type=float, default=120, help="of absence")
    arguments.add_argument("--rate", type=float, default=3, help="starts a second")
    arguments.add_argument("--previous", help="commit of the release before")
    chosen = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="noetl-rolling-"))
    try:
        if chosen.only in {None, "restart"}:
            print("every process restarted")
            with fleet_at(folder, "restart") as (fleet, balancer):
                restart(fleet, balancer, chosen.rate)
        if chosen.only in {None, "upgrade"}:
            commit = chosen.previous or previous()
            print(f"migrated from {commit} and replaced")
            with (
                checkout(commit, folder) as code,
                fleet_at(folder, "upgrade") as (fleet, balancer),
            ):
                upgrade(fleet, balancer, chosen.rate, code)
        if chosen.only in {None, "reshard"}:
            print("one shard becomes two")
            with fleet_at(folder, "reshard") as (fleet, balancer):
                divide(fleet, balancer)
        if chosen.only in {None, "absence"}:
            for way in ("direct", "stream"):
                print(f"no orchestrator, writes go {way}")
                with fleet_at(folder, f"absence-{way}") as (fleet, balancer):
                    fleet.settings = {"NOETL_INGRESS": way}
                    leave(fleet, balancer, chosen.seconds)
    except BaseException:
        print("left for a look:", folder)
        raise
    if PROBLEMS:
        sys.exit(f"{len(PROBLEMS)} problems; left for a look: {folder}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
